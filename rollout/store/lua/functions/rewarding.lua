-- Records a reward of an episode: {id, field, turn, name, value, retry_key}.

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

local function add_to_totals(reward, before, is_first)
  local weight = tonumber(call('HGET', key('reward_weights'), reward.name)) or 1
  local gained = weight * (tonumber(reward.value) - number(before))
  local names = {key('totals'), episode_key(reward.id), is_recounted(reward.id) and key('recount') or nil}
  for _, name in ipairs(names) do call('HINCRBYFLOAT', name, 'reward_sum', string.format('%.17g', gained)) end
  if is_first then count('reward_count', 1, reward.id) end
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
