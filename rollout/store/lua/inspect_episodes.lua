-- inspect_episodes: read everything that the store keeps of some episodes. args: episodes.
-- Returns for each: header, turns, turn ids, the episode of each turn id, rewards, reward log, reward keys,
--   bytes of advantages or -1, scores in the indexes, status of its group, opening time among the group's members,
--   names of unreadable keys.
-- needs: keys, inspecting
local function inspect(id)
  local unreadable = {}
  local read = reader(unreadable)
  local header = read('HGETALL', 'ep:' .. id)
  local turn_ids = read('LRANGE', 'ep.turn_ids:' .. id, 0, -1)
  local owners = {}
  for index, turn in ipairs(turn_ids) do owners[index] = read('HGET', 'turns', turn) or '' end
  local group = redis.pcall('HGET', key('ep:' .. id), 'group')
  local group_status, place = '', ''
  if type(group) == 'string' and group ~= '' then
    group_status = read('HGET', 'grp:' .. group, 'status') or ''
    place = read('ZSCORE', 'grp.members:' .. group, id) or ''
  end
  local advantages = read('EXISTS', 'ep.advantages:' .. id) == 1 and read('STRLEN', 'ep.advantages:' .. id)
  return {
    header, read('LRANGE', 'ep.turns:' .. id, 0, -1), turn_ids, owners, read('HGETALL', 'ep.rewards:' .. id),
    read('LRANGE', 'ep.reward_log:' .. id, 0, -1), read('HGETALL', 'ep.reward_keys:' .. id), advantages or -1,
    scores(read, id, {'episodes', 'idle', 'quiet', 'expiring', 'settled'}), group_status, place, unreadable}
end

local found = {}
for index, id in ipairs(args) do found[index] = inspect(id) end
return found
