-- rewards: record or amend rewards, all or none; then seal the episodes whose `complete` is 1. Returns {time, amended} of each.
-- args: episode, field, turn or '', name, value, idempotency key or '', complete 0 or 1, then those of the next reward
-- needs: keys, open_episodes, alarm, places, episode, group, sealing
local rewards = {}
for index = 1, #args, 7 do
  local id, field, turn, name, value, retry_key, complete = unpack(args, index, index + 6)
  rewards[#rewards + 1] = {id = id, field = field, turn = turn, name = name, value = value,
                           retry_key = retry_key, complete = complete == '1'}
end

-- The answer to the same reward, if it was recorded before under its key; or a refusal.
local function recorded(reward)
  if reward.retry_key == '' then return end
  local packed = call('HGET', episode_key(reward.id, '.reward_keys'), reward.retry_key)
  if not packed then return end
  local field, value, created, amended = unpack(cmsgpack.unpack(packed))
  if field ~= reward.field or value ~= reward.value then
    return nil, refuse('RetryMismatch', reward.retry_key)
  end
  return {created, amended}
end

local function refusal_of(reward)
  local id = reward.id
  local status, reason = unpack(call('HMGET', episode_key(id), 'status', 'reason'))
  if not status then return refuse('NoSuchEpisode', id) end
  local answer, mismatch = recorded(reward)
  if answer or mismatch then return mismatch end
  if status == 'claimed' then return refuse('EpisodeClaimed', id) end
  if status == 'trained' then return refuse('EpisodeSettled', id, status) end
  -- A held-out episode with turns is discarded when it is sealed, and may still be rewarded until its data is deleted.
  local is_evaluated = reason == 'evaluated' and call('EXISTS', episode_key(id, '.turns')) == 1
  if status == 'discarded' and not is_evaluated then return refuse('EpisodeSettled', id, reason) end
  local turn = reward.turn
  if turn ~= '' and call('HGET', key('turns'), turn) ~= id then return refuse('NoSuchTurn', turn) end
end

-- A key that is used twice in this call must be of one reward.
local function repeated_key()
  local known = {}
  for _, reward in ipairs(rewards) do
    local place = reward.id .. '\31' .. reward.retry_key
    local content = reward.field .. '\31' .. reward.value
    if reward.retry_key ~= '' and (known[place] or content) ~= content then
      return refuse('RetryMismatch', reward.retry_key)
    end
    known[place] = content
  end
end

local function add_to_totals(reward, before, is_first)
  local weight = tonumber(call('HGET', key('reward_weights'), reward.name)) or 1
  local gained = weight * (tonumber(reward.value) - number(before))
  call('HINCRBYFLOAT', key('totals'), 'reward_sum', string.format('%.17g', gained))
  call('HINCRBYFLOAT', episode_key(reward.id), 'reward_sum', string.format('%.17g', gained))
  if is_first then count('reward_count', 1) end
end

local function record(reward)
  local answer = recorded(reward)
  if answer then return answer end
  local id, field, value = reward.id, reward.field, reward.value
  local before = call('HGET', episode_key(id, '.rewards'), field)
  local amended = before and 1 or 0
  call('HSET', episode_key(id, '.rewards'), field, value)
  call('RPUSH', episode_key(id, '.reward_log'), cmsgpack.pack({ARGV[1], field, value, amended}))
  if reward.retry_key ~= '' then
    local packed = cmsgpack.pack({field, value, ARGV[1], amended})
    call('HSET', episode_key(id, '.reward_keys'), reward.retry_key, packed)
  end
  local is_first = not before and call('HINCRBY', episode_key(id), 'rewards', 1) == 1
  local status, kind = unpack(call('HMGET', episode_key(id), 'status', 'kind'))
  if kind ~= 'side' then add_to_totals(reward, before, is_first) end
  if status == 'sealed' then
    if has_signal(id) then await_reward(id) end
  elseif status == 'open' then
    call('ZADD', key('idle'), now + idle_ms, id)
    keep_place(id)
  elseif status == 'discarded' then
    queue_for_ledger(id)
  end
  return {ARGV[1], amended}
end

local refusal = repeated_key()
if refusal then return refusal end
for _, reward in ipairs(rewards) do
  refusal = refusal_of(reward)
  if refusal then return refusal end
end
local answers = {}
for index, reward in ipairs(rewards) do answers[index] = record(reward) end
for _, reward in ipairs(rewards) do
  if reward.complete and call('HGET', episode_key(reward.id), 'status') == 'open' then
    seal(reward.id, 'succeeded', 0)
  end
end
return answers
