-- repair: check the records of the project, and derive its indexes and counts again; what is right stays as it is.
-- Returns what was found damaged since the last time: name, name of the key it was moved to, why, of each.
-- needs: keys, rebuild
local TYPES = {
  zset = {'episodes', 'idle', 'quiet', 'ahead', 'deadlines', 'ready', 'claimed', 'trained', 'expiring', 'settled'},
  hash = {'turns', 'totals', 'forgotten', 'holders', 'training', 'policy', 'pinned', 'reward_weights', 'published'},
  string = {'version', 'history', 'alarm', 'damage_count', 'damage_index', 'damage_seen'},
  list = {'ready_signal', 'damage'},
}
for kind, names in pairs(TYPES) do
  for _, name in ipairs(names) do
    local found = redis.call('TYPE', key(name)).ok
    if found ~= kind and found ~= 'none' then mend(key(name), 'it is a ' .. found) end
  end
end

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

if is_list_wrong() then find_episodes() end
for _, id in ipairs(episode_ids()) do
  local why = what_is_wrong(id)
  if why and is_empty(id) then
    call('ZREM', key('episodes'), id)
    report(key('episodes'), '', 'an entry is no episode')
  elseif why then
    if call('EXISTS', episode_key(id)) == 0 then report(episode_key(id), '', why) end
    fail_episode(id, why)
  end
end
for _, name in ipairs({'ready', 'claimed', 'deadlines', 'trained'}) do
  for _, group in ipairs(call('ZRANGE', key(name), 0, -1)) do
    if call('EXISTS', group_key(group)) == 0 and call('EXISTS', group_key(group, '.members')) == 0 then
      call('ZREM', key(name), group)
    end
  end
end
rebuild_all()

local found = number(call('GET', key('damage_count')))
local rows = {}
for index = 0, found - number(call('GET', key('damage_seen'))) - 1 do
  local row = call('LINDEX', key('damage'), index)
  if row then rows[#rows + 1] = cmsgpack.unpack(row) end
end
call('SET', key('damage_seen'), found)
return rows
