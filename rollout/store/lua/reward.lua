-- reward: record or amend one reward; seal the episode if `complete` is 1. Returns {time, amended}.
-- args: episode, field, turn or '', name, value, idempotency key or '', complete 0 or 1
-- needs: keys, alarm, episode, group, sealing
local id, field, turn, name, value, idempotency_key, complete = unpack(args)
local status, kind, reason = unpack(call('HMGET', episode_key(id), 'status', 'kind', 'reason'))
if not status then return refuse('NoSuchEpisode', id) end

local prior = idempotency_key ~= '' and call('HGET', episode_key(id, '.reward_keys'), idempotency_key)
if prior then
  local known_field, known_value, created, amended = unpack(cmsgpack.unpack(prior))
  if known_field ~= field or known_value ~= value then return refuse('RetryMismatch', idempotency_key) end
  if complete == '1' and status == 'open' then seal(id, 'succeeded', 0) end
  return {created, amended}
end
if status == 'claimed' then return refuse('EpisodeClaimed', id) end
if status == 'trained' then return refuse('EpisodeSettled', id, status) end
-- A held-out episode with turns is discarded when it is sealed, and may still be rewarded after that.
local has_turns = call('EXISTS', episode_key(id, '.turns')) == 1
local is_evaluated = kind == 'side' and reason == 'no_signal' and has_turns
if status == 'discarded' and not is_evaluated then return refuse('EpisodeSettled', id, reason) end
if turn ~= '' and call('HGET', key('turns'), turn) ~= id then return refuse('NoSuchTurn', turn) end

local before = call('HGET', episode_key(id, '.rewards'), field)
local amended = before and 1 or 0
call('HSET', episode_key(id, '.rewards'), field, value)
call('RPUSH', episode_key(id, '.reward_log'), cmsgpack.pack({ARGV[1], field, value, amended}))
if idempotency_key ~= '' then
  local answer = cmsgpack.pack({field, value, ARGV[1], amended})
  call('HSET', episode_key(id, '.reward_keys'), idempotency_key, answer)
end
local is_first = not before and call('HINCRBY', episode_key(id), 'rewards', 1) == 1
if kind ~= 'side' then
  local weight = tonumber(call('HGET', key('reward_weights'), name) or 1)
  local gained = weight * (tonumber(value) - tonumber(before or 0))
  call('HINCRBYFLOAT', key('totals'), 'reward_sum', string.format('%.17g', gained))
  if is_first then count('reward_count', 1) end
end

if status == 'sealed' then
  if has_signal(id) then await_reward(id) end
elseif status == 'open' then
  call('ZADD', key('idle'), now + idle_ms, id)
  if complete == '1' then seal(id, 'succeeded', 0) end
elseif status == 'discarded' then
  queue_for_ledger(id)
end
return {ARGV[1], amended}
