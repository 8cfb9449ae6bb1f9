-- repair: one slice of a pass over the records of the project: they are checked, and the indexes and counts are derived again.
-- What is right stays as it is. Other transitions run between two slices; whoever calls goes on where the last slice ended.
-- args: most entries of a slice. Returns the pass, 1 if this slice began it, 1 if it ended it, and what was found damaged since
--   the last time: name, name of the key it was moved to, why, of each.
-- needs: keys, rebuild
local left = tonumber(args[1])
local TYPES = {
  zset = {'episodes', 'idle', 'quiet', 'ahead', 'deadlines', 'ready', 'claimed', 'trained', 'expiring', 'settled'},
  hash = {'turns', 'totals', 'forgotten', 'holders', 'training', 'policy', 'pinned', 'reward_weights', 'published',
          'repair', 'recount', 'recount_holders'},
  string = {'version', 'history', 'alarm', 'damage_count', 'damage_index', 'damage_seen'},
  list = {'ready_signal', 'damage'},
}

-- Numbers of a header that a transition or a reader needs; an empty one is none.
local NUMBERS = {'created', 'begun', 'turns', 'trainable_turns', 'rewards', 'sealed', 'settled', 'output_tokens',
                 'trainable_tokens', 'min_version', 'max_version', 'policy_version'}
local function what_is_wrong(id)
  local status, reason, group, own = unpack(call('HMGET', episode_key(id), 'status', 'reason', 'group', 'id'))
  if not status then return 'it has no header' end
  if not (LIVE[status] or ENDED[status]) then return 'its status is ' .. status end
  if own ~= id or not group then return 'it has no id or no group' end
  if status == 'discarded' and not reason then return 'it has no reason' end
  for index, value in ipairs(call('HMGET', episode_key(id), unpack(NUMBERS))) do
    if value and value ~= '' and not tonumber(value) then return NUMBERS[index] .. ' is no number' end
  end
end

local function is_empty(id)
  if call('EXISTS', episode_key(id)) == 1 then return false end
  for _, part in ipairs(episode_parts()) do
    if call('EXISTS', episode_key(id, part)) == 1 then return false end
  end
  return true
end

-- Entries are missing, or there are more than episodes were opened.
local function is_list_wrong()
  local known = number(call('HGET', key('totals'), 'opened')) - number(call('HGET', key('forgotten'), 'opened'))
  return known ~= call('ZCARD', key('episodes'))
end

-- The phases of a pass. Each does a part of its work, and returns true when it is done.
local phases = {}

function phases.types()
  for kind, names in pairs(TYPES) do
    for _, name in ipairs(names) do
      local found = redis.call('TYPE', key(name)).ok
      if found ~= kind and found ~= 'none' then mend(key(name), 'it is a ' .. found) end
    end
  end
  call('HSET', key('repair'), 'damage', number(call('GET', key('damage_count'))), 'finds', is_list_wrong() and 1 or 0)
  return true
end

-- Finds episodes that are missing in the list by their headers' keys.
function phases.find(cursor)
  if call('HGET', key('repair'), 'finds') ~= '1' then return true end
  local found = redis.call('SCAN', cursor == '' and '0' or cursor, 'MATCH', episode_key('') .. '*', 'COUNT', left)
  add_found(found[2])
  left = 0
  call('HSET', key('repair'), 'cursor', found[1])
  return found[1] == '0'
end

-- Calls a function with the next episodes of the list until enough was done; it returns how much, nothing if the entry is gone.
local function for_each_episode(cursor, act)
  local rank = cursor == '' and -1 or call('ZRANK', key('episodes'), cursor)
  if not rank then  -- the list is another one
    call('HSET', key('repair'), 'phase', 'types', 'cursor', '')
    return false
  end
  local ids = call('ZRANGE', key('episodes'), rank + 1, rank + left)
  local last = cursor
  for _, id in ipairs(ids) do
    local work = act(id)
    if work then last = id end
    left = left - (work or 1)
    if left <= 0 then break end
  end
  call('HSET', key('repair'), 'cursor', last)
  return ids[#ids] == nil or (left > 0 and last == ids[#ids])
end

function phases.episodes(cursor)
  return for_each_episode(cursor, function(id)
    local why = what_is_wrong(id)
    if why and is_empty(id) then
      call('ZREM', key('episodes'), id)
      return report(key('episodes'), '', 'an entry is no episode')
    end
    if why then
      if call('EXISTS', episode_key(id)) == 0 then report(episode_key(id), '', why) end
      fail_episode(id, why)
    end
    index_episode(id)
    return 1
  end)
end

-- Each group once, with its first member.
function phases.groups(cursor)
  return for_each_episode(cursor, function(id)
    local group = call('HGET', episode_key(id), 'group') or ''
    if group == '' or call('ZRANGE', group_key(group, '.members'), 0, 0)[1] ~= id then return 1 end
    check_group(group)
    index_group(group)
    return 1 + call('ZCARD', group_key(group, '.members'))
  end)
end

-- Groups that are in an index and nowhere else.
for _, name in ipairs({'ready', 'claimed', 'deadlines', 'trained'}) do
  phases[name] = function(cursor)
    local first = number(cursor)
    local groups = call('ZRANGE', key(name), first, first + left - 1)
    for _, group in ipairs(groups) do
      if call('EXISTS', group_key(group)) == 0 and call('EXISTS', group_key(group, '.members')) == 0 then
        call('ZREM', key(name), group)
        first = first - 1
      end
    end
    local is_done = #groups < left
    left = left - #groups
    call('HSET', key('repair'), 'cursor', string.format('%d', first + #groups))
    return is_done
  end
end

local function add_all(name, counts)
  for field, by in pairs(counts) do call('HINCRBYFLOAT', key(name), field, string.format('%.17g', by)) end
end

local function numbers(name)
  local found, flat = {}, call('HGETALL', key(name))
  for index = 1, #flat, 2 do found[flat[index]] = number(flat[index + 1]) end
  return found
end

-- From here on each transition counts what it changes of an episode that was counted here a second time (`count`).
function phases.counts(cursor)
  if cursor == '' then call('DEL', key('recount'), key('recount_holders')) end
  local counts, holders = {}, {}
  local add, hold_place = adder(counts), adder(holders)
  local is_done = for_each_episode(cursor, function(id)
    local place = add_episode(add, id)
    if place then hold_place(place, 1) end
    return 1
  end)
  add_all('recount', counts)
  add_all('recount_holders', holders)
  if not is_done then return false end
  counts, holders = numbers('recount'), numbers('recount_holders')
  add, hold_place = adder(counts), adder(holders)
  for _, group in ipairs(call('ZRANGE', key('ahead'), 0, -1)) do add_group_places(group, add, hold_place) end
  write_totals(counts)
  write_holders(holders)
  call('DEL', key('recount'), key('recount_holders'))
  return true
end

local function new_damage()
  local found, rows = number(call('GET', key('damage_count'))), {}
  for index = 0, found - number(call('GET', key('damage_seen'))) - 1 do
    local row = call('LINDEX', key('damage'), index)
    if row then rows[#rows + 1] = cmsgpack.unpack(row) end
  end
  call('SET', key('damage_seen'), found)
  return rows
end

local ORDER = {'types', 'find', 'episodes', 'groups', 'ready', 'claimed', 'deadlines', 'trained', 'counts'}
local NEXT = {}
for index, name in ipairs(ORDER) do NEXT[name] = ORDER[index + 1] end
local MOST_TRIES = 3

local phase, cursor, pass = unpack(call('HMGET', key('repair'), 'phase', 'cursor', 'pass'))
local begins = not phases[phase]
if begins then
  phase, cursor, pass = 'types', '', string.format('%.0f', math.max(number(pass) + 1, now))
  call('HSET', key('repair'), 'pass', pass, 'phase', phase, 'cursor', cursor, 'tries', 1)
end
while phase and left > 0 do
  if phases[phase](cursor) then
    left = left - 1
    call('HSET', key('repair'), 'phase', NEXT[phase] or '', 'cursor', '')
  end
  phase, cursor = unpack(call('HMGET', key('repair'), 'phase', 'cursor'))
  if not phases[phase] then phase = nil end
end

-- A record that was found damaged in the middle of a pass may have been counted before.
local tries, damage = unpack(call('HMGET', key('repair'), 'tries', 'damage'))
if not phase and damage ~= string.format('%d', number(call('GET', key('damage_count')))) and number(tries) < MOST_TRIES then
  phase = 'types'
  call('HSET', key('repair'), 'phase', phase, 'cursor', '', 'tries', number(tries) + 1)
end
return {pass, begins and 1 or 0, phase and 0 or 1, phase and {} or new_damage()}
