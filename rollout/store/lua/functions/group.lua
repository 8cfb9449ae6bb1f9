-- How a group becomes ready, and how it ends.
local function members(group, status)
  local found = {}
  for _, id in ipairs(call('ZRANGE', group_key(group, '.members'), 0, -1)) do
    if call('HGET', episode_key(id), 'status') == status then found[#found + 1] = id end
  end
  return found
end

local function wake_trainer()
  call('LPUSH', key('ready_signal'), 1)
  call('LTRIM', key('ready_signal'), 0, 0)
end

-- Groups of which no member has a place are claimed after all others, for a limited time.
local LATE = 1e13

local function queue(group)
  unreserve(group)
  local since = call('HGET', group_key(group), 'ready')
  if not since then
    since = now
    call('HSET', group_key(group), 'ready', now)
  end
  call('HSET', group_key(group), 'status', 'ready', 'owner', '')
  call('ZREM', key('deadlines'), group)
  call('ZREM', key('claimed'), group)
  if number(call('HGET', group_key(group), 'placed')) == 0 then
    since = since + LATE
    arm(since - LATE + idle_ms)
  end
  call('ZADD', key('ready'), since, group)
  wake_trainer()
end

local function finish(group, status)
  unreserve(group)
  call('HSET', group_key(group), 'status', status)
  for _, name in ipairs({'ready', 'claimed', 'deadlines'}) do call('ZREM', key(name), group) end
end

-- After a member changed: a complete group becomes ready, one without trainable members ends.
local function review(group)
  if group == '' then return end
  local status, size, rewarded, discarded = read_group(group)
  if status == 'open' then
    if size == 0 or rewarded + discarded < size then return end
    if rewarded > 0 then queue(group) else finish(group, 'discarded') end
  elseif status == 'ready' and rewarded == 0 then
    finish(group, 'discarded')
  end
end

-- After the first member ended: sets the deadline of the others.
local function start_deadline(group)
  if group == '' or call('ZSCORE', key('deadlines'), group) then return end
  local status, wait = unpack(call('HMGET', group_key(group), 'status', 'deadline'))
  if status ~= 'open' then return end
  local at = now + (tonumber(wait) or reward_deadline_ms)
  call('ZADD', key('deadlines'), at, group)
  arm(at)
end

local function member_ended(group)
  start_deadline(group)
  review(group)
end

-- At the deadline a group with two or more rewarded episodes becomes ready; any other ends.
local function close_group(group)
  local status, _, rewarded = read_group(group)
  if not status then return call('ZREM', key('deadlines'), group) end
  local over = rewarded >= 2 and {'open', 'sealed'} or {'open', 'sealed', 'rewarded'}
  for _, status in ipairs(over) do
    for _, id in ipairs(members(group, status)) do discard(id, 'expired') end
  end
  if rewarded >= 2 then queue(group) else finish(group, 'discarded') end
end

local function discard_group(group, reason)
  for _, status in ipairs({'rewarded', 'claimed'}) do
    for _, id in ipairs(members(group, status)) do discard(id, reason) end
  end
  finish(group, 'discarded')
end

local function requeue(group, from)
  for _, id in ipairs(members(group, from)) do
    move(id, from, 'rewarded')
    pass_place(id, call('HGET', episode_key(id), 'key'))
  end
  queue(group)
end

-- Groups of a trainer that died: back to the queue, or discarded after too many deliveries.
local function give_back(groups, max_deliveries)
  for _, group in ipairs(groups) do
    local status, _, _, _, deliveries = read_group(group)
    if not status then
      call('ZREM', key('claimed'), group)
    elseif deliveries >= max_deliveries then
      discard_group(group, 'failed')
    else
      requeue(group, 'claimed')
    end
  end
end

-- Groups whose lease expired.
local function reclaim(max_deliveries, limit)
  give_back(call('ZRANGEBYSCORE', key('claimed'), '-inf', now, 'LIMIT', 0, limit), max_deliveries)
end

local function holds(owner, group)
  local status, holder = unpack(call('HMGET', group_key(group), 'status', 'owner'))
  return status == 'claimed' and holder == owner
end
