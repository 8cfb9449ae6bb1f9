-- claim: take ready groups under a lease, oldest first. Returns {group, deliveries, views} for each.
-- args: owner, groups wanted, version, max staleness, lease in ms, max deliveries
-- needs: keys, header, alarm, episode, group
local owner, wanted, version, max_staleness, lease, max_deliveries = unpack(args)
wanted, version, max_staleness = tonumber(wanted), tonumber(version), tonumber(max_staleness)

local function take(group, ids)
  call('HSET', group_key(group), 'status', 'claimed', 'owner', owner)
  call('ZREM', key('ready'), group)
  call('ZADD', key('claimed'), now + lease, group)
  local views = {}
  for _, id in ipairs(ids) do
    move(id, 'rewarded', 'claimed')
    views[#views + 1] = view(id)
  end
  return {group, call('HINCRBY', group_key(group), 'deliveries', 1), views}
end

local function is_stale(ids)
  for _, id in ipairs(ids) do
    local oldest = tonumber(call('HGET', episode_key(id), 'min_version'))
    if version - oldest > max_staleness then return true end
  end
  return false
end

reclaim(tonumber(max_deliveries), -1)
local claims = {}
if call('HGET', key('training'), 'paused') == '1' then return claims end
while #claims < wanted do
  local group = call('ZRANGE', key('ready'), 0, 0)[1]
  if not group then break end
  local ids = members(group, 'rewarded')
  if is_stale(ids) then
    discard_group(group, 'stale')
  else
    claims[#claims + 1] = take(group, ids)
  end
end
if #claims > 0 then arm(now + lease) end
return claims
