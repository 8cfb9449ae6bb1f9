-- What is done at once when a command meets a damaged record. A transition that does not name this file among its needs loads
-- it with mending.lua, indexes.lua and counting.lua when it does, because most calls meet none.

-- Adds episodes to the list by the names of their headers.
local function add_found(names)
  local start = episode_key('')
  for _, name in ipairs(names) do
    redis.call('ZADD', key('episodes'), 'NX', number(try('HGET', name, 'created')), name:sub(#start + 1))
  end
end

local function find_episodes()
  local cursor = '0'
  repeat
    local found = redis.call('SCAN', cursor, 'MATCH', episode_key('') .. '*', 'COUNT', 1000)
    cursor = found[1]
    add_found(found[2])
  until cursor == '0'
end

local function write_turns()
  for _, id in ipairs(episode_ids()) do
    for _, turn in ipairs(call('LRANGE', episode_key(id, '.turn_ids'), 0, -1)) do
      call('HSET', key('turns'), turn, id)
    end
  end
end

local function requeue_settled()
  for _, id in ipairs(episode_ids()) do
    if ENDED[call('HGET', episode_key(id), 'status')] then
      call('ZADD', key('settled'), 'NX', call('HINCRBY', key('totals'), 'settlements', 1), id)
    end
  end
end

local function index_all()
  local _, _, groups = counted()
  for group in pairs(groups) do index_group(group) end
  for _, id in ipairs(episode_ids()) do index_episode(id) end
end

-- After a record of the project was moved aside: derives it again, or takes its copy.
local function rebuild(name)
  if name == 'repair' or name:match('^recount') then redis.call('DEL', key('repair'))  -- a pass begins anew
  elseif name == 'episodes' then find_episodes()
  elseif name == 'totals' then write_totals((counted()))
  elseif name == 'forgotten' then write_forgotten((counted()))
  elseif name == 'holders' then write_holders(select(2, counted()))
  elseif name == 'turns' then write_turns()
  elseif name == 'settled' then requeue_settled()
  elseif redis.call('EXISTS', key('copy.' .. name)) == 1 then
    redis.call('COPY', key('copy.' .. name), key(name))
  else index_all() end
end

local function mend_record(name, why)
  redis.set_repl(redis.REPL_ALL)  -- on disk, also where a transition writes in memory only
  local own = name:sub(#prefix + 1)
  local kind, id = own:match('^([^:]+):(.*)$')
  if kind == 'ep' or (kind and kind:sub(1, 3) == 'ep.') then
    local group = fail_episode(id, why)
    if group and group ~= '' then check_group(group) end
    return
  end
  set_aside(name, why)
  if kind == 'grp' then write_group(id)
  elseif kind == 'grp.members' then index_all()
  elseif not kind then rebuild(own) end
end
