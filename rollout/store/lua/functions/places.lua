-- Admission counts places. An episode has one while it shows life, and an open group keeps some for members that have
-- not opened. The hash `holders` says who has how many: a key those of its episodes, the trainer those that it claimed.
local function hold(holder, by)
  count('reserved', by)
  if call('HINCRBY', key('holders'), holder, by) == 0 then call('HDEL', key('holders'), holder) end
end

-- How many places a key gets that asks for this many: all, or none and what is used up. It asks for its share at most.
local function grant(holder, wanted)
  local limit, share = unpack(
    call('HMGET', key('training'), 'max_live_episodes', 'max_live_episodes_per_key'))
  limit = tonumber(limit or 0)
  if limit == 0 then return wanted end
  share = math.min(tonumber(share or limit), limit)
  wanted = math.min(wanted, share)
  local held = tonumber(call('HGET', key('holders'), holder) or 0)
  if held + wanted > share then return 0, 'key' end
  local reserved = tonumber(call('HGET', key('totals'), 'reserved') or 0)
  if reserved + wanted > limit then return 0, 'project' end
  return wanted
end

-- Keeps places for the members that a group's key will open, but not for long.
local function reserve(group, holder, wanted)
  call('HSET', group_key(group), 'ahead', wanted, 'key', holder)
  hold(holder, wanted)
  call('ZADD', key('ahead'), now + silence_ms, group)
  arm(now + silence_ms)
end

local function unreserve(group, by)
  local ahead, holder = unpack(call('HMGET', group_key(group), 'ahead', 'key'))
  ahead = tonumber(ahead or 0)
  if ahead == 0 then return false end
  by = by or ahead
  hold(holder, -by)
  call('HINCRBY', group_key(group), 'ahead', -by)
  if by == ahead then call('ZREM', key('ahead'), group) end
  return true
end

local function place(id)
  local group, owner = unpack(call('HMGET', episode_key(id), 'group', 'key'))
  call('HSET', episode_key(id), 'place', owner)
  call('HINCRBY', group_key(group), 'placed', 1)
  hold(owner, 1)
end

-- Once no member has a place, the group keeps none for others.
local function unplace(id)
  local holder, group = unpack(call('HMGET', episode_key(id), 'place', 'group'))
  if not holder then return end
  call('HDEL', episode_key(id), 'place')
  call('ZREM', key('quiet'), id)
  hold(holder, -1)
  if call('HINCRBY', group_key(group), 'placed', -1) == 0 then unreserve(group) end
end

local function pass_place(id, holder)
  local from = call('HGET', episode_key(id), 'place')
  if not from then return end
  hold(from, -1)
  hold(holder, 1)
  call('HSET', episode_key(id), 'place', holder)
end

-- A sign of life: the episode keeps its place, or gets one if there is room.
local function keep_place(id)
  local held, kind, owner = unpack(call('HMGET', episode_key(id), 'place', 'kind', 'key'))
  if kind == 'side' then return end
  if not held then
    if grant(owner, 1) == 0 then return end
    place(id)
    arm(now + silence_ms)
  end
  call('ZADD', key('quiet'), now + silence_ms, id)
end
