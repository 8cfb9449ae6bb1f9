-- episodes: one page, newest first. Returns {header, rewards} of each, whether there are more, and reward weights.
-- args: status, group, task (each '' for any), after or '', limit, opening time of an episode `after` of another shard or ''
-- needs: keys, header
local SCANNED_AT_MOST = 20000
local status, group, task, after, limit, after_created = unpack(args)
local index = group == '' and key('episodes') or group_key(group, '.members')
local first = 0

-- How many here come before an episode of another shard: later ones, and of the same time those with a larger id.
local function num_before()
  local before = call('ZCOUNT', index, '(' .. after_created, '+inf')
  for _, id in ipairs(call('ZRANGEBYSCORE', index, after_created, after_created)) do
    if id > after then before = before + 1 end
  end
  return before
end

if after ~= '' then
  local rank = call('ZREVRANK', index, after)
  if not rank and after_created == '' then return refuse('NoSuchEpisode', after) end
  first = rank and rank + 1 or num_before()
end

local function matches(id)
  local has_status, has_task = unpack(call('HMGET', episode_key(id), 'status', 'task'))
  return has_status and (status == '' or status == has_status) and (task == '' or task == has_task)
end

local page, weights = {}, call('HGETALL', key('reward_weights'))
for start = first, first + SCANNED_AT_MOST, 100 do
  local ids = call('ZREVRANGE', index, start, start + 99)
  for _, id in ipairs(ids) do
    if matches(id) then
      if #page == tonumber(limit) then return {page, 1, weights} end
      page[#page + 1] = {header(id), call('HGETALL', episode_key(id, '.rewards'))}
    end
  end
  if #ids < 100 then break end
end
return {page, 0, weights}
