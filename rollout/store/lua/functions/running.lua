-- The turns that were begun and neither committed nor taken back: `begun` of the header is how many are more than `turns`.
-- `begun` is written as a whole number and not added to, because a part of it may be in memory only (memory.lua).
local function awaits_turns(id)
  local begun, turns = unpack(call('HMGET', episode_key(id), 'begun', 'turns'))
  return number(begun) > number(turns)
end

-- Counts each attempt once. Returns whether it was counted now.
local function take_back(id, attempt)
  if call('SADD', episode_key(id, '.withdrawn'), attempt) == 0 then return false end
  local begun, turns = unpack(call('HMGET', episode_key(id), 'begun', 'turns'))
  call('HSET', episode_key(id), 'begun', math.max(number(begun) - 1, number(turns)))
  return true
end
