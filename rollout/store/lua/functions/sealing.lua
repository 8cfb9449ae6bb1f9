-- Seals an open episode: without a trainable turn it is discarded, otherwise it waits for its reward or its group.
local function has_signal(id)
  local kind, trainable = unpack(call('HMGET', episode_key(id), 'kind', 'trainable_turns'))
  return kind ~= 'side' and tonumber(trainable) > 0
end

-- A sealed episode with a trainable turn becomes rewarded if it has a reward.
local function await_reward(id)
  call('ZREM', key('idle'), id)
  local group, rewards = unpack(call('HMGET', episode_key(id), 'group', 'rewards'))
  if tonumber(rewards) == 0 then return end
  move(id, 'sealed', 'rewarded')
  call('HINCRBY', group_key(group), 'rewarded', 1)
  review(group)
end

local function awaits_turns(id)
  local begun, turns = unpack(call('HMGET', episode_key(id), 'begun', 'turns'))
  return tonumber(begun or 0) > tonumber(turns)
end

-- Without a trainable turn it waits until the end of the grace period for turns that were begun.
local function await_turns(id)
  if not awaits_turns(id) then return discard(id, 'no_signal') end
  call('ZADD', key('idle'), now + grace_ms, id)
  arm(now + grace_ms)
end

local function seal(id, outcome, truncated)
  call('HSET', episode_key(id), 'sealed', now, 'outcome', outcome, 'truncated', truncated)
  if outcome == 'aborted' then
    discard(id, 'aborted')
  else
    move(id, 'open', 'sealed')
    if has_signal(id) then await_reward(id) else await_turns(id) end
  end
  member_ended(call('HGET', episode_key(id), 'group'))
end
