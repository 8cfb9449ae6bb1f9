-- Admission counts places. An episode has one while it shows life, and an open group keeps some for members that have
-- not opened. The hash `holders` says who has how many: a key those of its episodes, the trainer those that it claimed.
local function hold(holder, by, id)
  if id then count('reserved', by, id) else call('HINCRBY', key('totals'), 'reserved', by) end
  if id and is_recounted(id) then call('HINCRBY', key('recount_holders'), holder, by) end
  if call('HINCRBY', key('holders'), holder, by) == 0 then call('HDEL', key('holders'), holder) end
end

-- An equal part of the places that the trainer has not claimed, for each key that holds any, and this one.
local function fair_part(holder, fresh)
  local claimed = number(call('HGET', key('holders'), 'trainer'))
  local others = call('HLEN', key('holders'))
    - call('HEXISTS', key('holders'), 'trainer') - call('HEXISTS', key('holders'), holder)
  return (fresh - claimed) / (others + 1)
end

-- How many places a key gets that asks for this many: all, or none and what is used up. As many as train while they are
-- fresh are one key's share, which it may fill while it is alone. Beyond them another key gets its first group or fair part.
-- Of several shards each has a part of the limits, -1 if it has no place; a group may be as large as the whole.
local function grant(holder, wanted)
  local limit, fresh, whole_fresh, whole = unpack(call('HMGET', key('training'), 'max_live_episodes',
    'max_live_episodes_per_key', 'whole_live_episodes_per_key', 'whole_live_episodes'))
  limit = number(limit)
  if limit == 0 then return wanted end
  fresh = math.min(tonumber(fresh) or limit, limit)
  wanted = math.min(wanted, tonumber(whole_fresh) or tonumber(whole) or fresh)
  local held = number(call('HGET', key('holders'), holder))
  local reserved = number(call('HGET', key('totals'), 'reserved'))
  if held + wanted > fresh then return 0, 'key' end
  local is_fresh = reserved + wanted <= fresh
  local is_due = held == 0 or held + wanted <= fair_part(holder, fresh)
  if reserved + wanted > limit or not (is_fresh or is_due) then return 0, 'project' end
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
  ahead = number(ahead)
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
  hold(owner, 1, id)
end

-- Once no member has a place, the group keeps none for others.
local function unplace(id)
  local holder, group = unpack(call('HMGET', episode_key(id), 'place', 'group'))
  if not holder then return end
  call('HDEL', episode_key(id), 'place')
  call('ZREM', key('quiet'), id)
  hold(holder, -1, id)
  if call('HINCRBY', group_key(group), 'placed', -1) == 0 then unreserve(group) end
end

local function pass_place(id, holder)
  local from = call('HGET', episode_key(id), 'place')
  if not from then return end
  hold(from, -1, id)
  hold(holder, 1, id)
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
