-- Seals an open episode: without a trainable turn it is discarded, otherwise it waits for its reward or its group.
local function has_signal(id)
  local kind, trainable = unpack(call('HMGET', episode_key(id), 'kind', 'trainable_turns'))
  return kind ~= 'side' and number(trainable) > 0
end

-- A failed episode without a reward is discarded after this time: its group does not wait for the deadline.
local FAILED_MS = 2000

local function end_at(id, at)
  call('ZADD', key('idle'), at, id)
  arm(at)
end

-- A sealed episode with a trainable turn becomes rewarded if it has a reward. Then it keeps its place however long it waits.
local function await_reward(id)
  call('ZREM', key('idle'), id)
  local group, rewards, outcome =
    unpack(call('HMGET', episode_key(id), 'group', 'rewards', 'outcome'))
  if number(rewards) == 0 then
    if outcome == 'failed' then end_at(id, now + FAILED_MS) end
    return
  end
  read_group(group)  -- mended, if it is damaged, before anything changes
  move(id, 'sealed', 'rewarded')
  keep_place(id)
  call('ZREM', key('quiet'), id)
  call('HINCRBY', group_key(group), 'rewarded', 1)
  review(group)
end

-- A held-out episode evaluated a policy if it has a turn.
local function end_without_signal(id)
  local kind, turns, untrained = unpack(call('HMGET', episode_key(id), 'kind', 'turns', 'untrained'))
  local is_evaluation = kind == 'side' and number(turns) > 0 and not untrained
  discard(id, is_evaluation and 'evaluated' or 'no_signal')
end

-- Without a trainable turn it waits until the end of the grace period for turns that were begun.
local function await_turns(id)
  if not awaits_turns(id) then return end_without_signal(id) end
  end_at(id, now + grace_ms)
end

local function seal(id, outcome, truncated)
  if call('HGET', episode_key(id), 'truncated') == '1' then truncated = 1 end  -- its context was full
  call('HSET', episode_key(id), 'sealed', now, 'outcome', outcome, 'truncated', truncated)
  if outcome == 'aborted' then
    discard(id, 'aborted')
  else
    move(id, 'open', 'sealed')
    call('ZADD', key('quiet'), 'XX', now + silence_ms, id)
    if has_signal(id) then await_reward(id) else await_turns(id) end
  end
  member_ended(call('HGET', episode_key(id), 'group'))
end
