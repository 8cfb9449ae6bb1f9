-- claim: take ready groups under a lease, oldest first. Returns {group, deliveries, views} for each.
-- args: owner, groups wanted, version, max staleness, lease in ms, max deliveries, judged by oldest, newest or none
-- needs: keys, rebuild, open_episodes, header, alarm, places, episode, group
local owner, wanted, version, max_staleness, lease, max_deliveries, judged_by = unpack(args)
wanted, version, max_staleness = tonumber(wanted), tonumber(version), tonumber(max_staleness)
local trainer = call('HGET', key('training'), 'trainer')
if trainer and trainer ~= owner then return refuse('Superseded', trainer) end

local function take(group, ids)
  call('HSET', group_key(group), 'status', 'claimed', 'owner', owner)
  call('ZREM', key('ready'), group)
  call('ZADD', key('claimed'), now + lease, group)
  local views = {}
  for _, id in ipairs(ids) do
    move(id, 'rewarded', 'claimed')
    pass_place(id, 'trainer')
    views[#views + 1] = view(id)
  end
  return {group, call('HINCRBY', group_key(group), 'deliveries', 1), views}
end

-- Judged by the oldest token, one stale episode makes a group stale; by the newest, only if all are stale.
local function is_stale(ids)
  if judged_by == 'none' then return false end
  local field = judged_by == 'oldest' and 'min_version' or 'max_version'
  for _, id in ipairs(ids) do
    local is_old = version - tonumber(call('HGET', episode_key(id), field)) > max_staleness
    if is_old == (judged_by == 'oldest') then return is_old end
  end
  return judged_by == 'newest'
end

-- The members that can be trained: one whose versions are no numbers is damaged, and its group goes on without it.
local function trainable(group)
  local ids, sound = members(group, 'rewarded'), {}
  for _, id in ipairs(ids) do
    local oldest, newest = unpack(call('HMGET', episode_key(id), 'min_version', 'max_version'))
    if tonumber(oldest) and tonumber(newest) then
      sound[#sound + 1] = id
    else
      mend(episode_key(id), 'its versions are no numbers')
    end
  end
  return sound
end

reclaim(tonumber(max_deliveries), -1)
local claims = {}
if call('HGET', key('training'), 'paused') == '1' then return claims end
while #claims < wanted do
  local group = call('ZRANGE', key('ready'), 0, 0)[1]
  if not group then break end
  local ids = trainable(group)
  if #ids == 0 then
    call('ZREM', key('ready'), group)
    check_group(group)
  elseif is_stale(ids) then
    discard_group(group, 'stale')
  else
    claims[#claims + 1] = take(group, ids)
  end
end
if #claims > 0 then arm(now + lease) end
return claims
