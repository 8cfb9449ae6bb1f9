-- sweep: handle what is due. args: limit of each kind, max deliveries. Returns when something is due next, or false.
-- needs: keys, rebuild, open_episodes, alarm, places, episode, group, running, sealing, idleness
local limit, max_deliveries = tonumber(args[1]), tonumber(args[2])
local function due(name)
  return call('ZRANGEBYSCORE', key(name), '-inf', now, 'LIMIT', 0, limit)
end

-- Data stays until the ledger has the episode and its group has ended.
local function is_needed(id, group)
  if call('ZSCORE', key('settled'), id) then return true end
  local status = group and group ~= '' and call('HGET', group_key(group), 'status')
  return status == 'open' or status == 'ready' or status == 'claimed'
end

-- An index may hold what is no episode, or one that has ended, only if it is damaged.
local function is_in_vain(index, id, status)
  if LIVE[status] and index == 'idle' or ENDED[status] and index == 'expiring' then return false end
  call('ZREM', key(index), id)
  if status then mend(episode_key(id), 'its status is ' .. status) end
  return true
end

local function forget(id)
  local status, group = unpack(call('HMGET', episode_key(id), 'status', 'group'))
  if is_in_vain('expiring', id, status) then return end
  if is_needed(id, group) then return call('ZADD', key('expiring'), now + retention_ms, id) end
  leave_list(id)
  drop_data(id)
  call('DEL', episode_key(id))
  call('ZREM', key('expiring'), id)
  if not group or group == '' then return end
  call('ZREM', group_key(group, '.members'), id)
  if call('EXISTS', group_key(group, '.members')) == 0 then call('DEL', group_key(group)) end
end

-- Ends an idle open episode, or a sealed one that got no trainable turn in time or failed without a reward.
local function end_idle(id)
  local status, group, rewards =
    unpack(call('HMGET', episode_key(id), 'status', 'group', 'rewards'))
  if is_in_vain('idle', id, status) then return end
  if status == 'open' and number(rewards) > 0 then return seal(id, 'succeeded', 0) end
  if status == 'open' then
    discard(id, 'expired')
  elseif has_signal(id) then
    discard(id, 'failed')
  else
    end_without_signal(id)
  end
  member_ended(group)
end

-- Takes the place of an episode that shows no life. A turn in progress is life, for ten times as long.
local function silence(id)
  keep_deadline('idle', id)
  local ends = number(call('ZSCORE', key('idle'), id))
  local is_running = call('HGET', episode_key(id), 'status') == 'open' and awaits_turns(id)
    and now - (ends - idle_ms) < 10 * silence_ms
  if is_running then return call('ZADD', key('quiet'), now + silence_ms, id) end
  call('ZREM', key('quiet'), id)
  unplace(id)
end

local function first(name, from)
  local id, at = unpack(call('ZRANGEBYSCORE', key(name), from, '(+inf', 'WITHSCORES', 'LIMIT', 0, 1))
  return tonumber(at), id
end

-- The first deadline of an index, after those that commits have moved on were written anew.
local function first_moved(index)
  for _ = 1, limit do
    local at, id = first(index, '-inf')
    if not at or not keep_deadline(index, id) then return at end
  end
  return first(index, '-inf')
end

for _, index in ipairs({'idle', 'quiet'}) do
  for _, id in ipairs(due(index)) do keep_deadline(index, id) end
end

for _, id in ipairs(due('expiring')) do forget(id) end
for _, id in ipairs(due('idle')) do end_idle(id) end
for _, group in ipairs(due('deadlines')) do close_group(group) end
for _, id in ipairs(due('quiet')) do silence(id) end
for _, group in ipairs(due('ahead')) do
  call('ZREM', key('ahead'), group)
  unreserve(group)
end
local too_late = call('ZRANGEBYSCORE', key('ready'), LATE, LATE + now - idle_ms, 'LIMIT', 0, limit)
for _, group in ipairs(too_late) do discard_group(group, 'stale') end
reclaim(max_deliveries, limit)

local late = first('ready', LATE)
local next_due = late and late - LATE + idle_ms
for _, name in ipairs({'expiring', 'idle', 'deadlines', 'claimed', 'quiet', 'ahead'}) do
  local at = MOVED[name] and first_moved(name) or first(name, '-inf')
  if at and (not next_due or at < next_due) then next_due = at end
end
if not next_due then
  call('DEL', key('alarm'))
  return false
end
call('SET', key('alarm'), next_due)
return string.format('%.0f', next_due)
