-- commit: append a turn to an episode's log, once. Returns its ordinal.
-- args: episode, turn id, record, trainable tokens, output tokens, oldest version or '', newest version or '',
--       attempt, retry key or '', body digest, 1 if it may be a repeat, turns in the log when it began, reply or '',
--       the turn whose conversation it continues or '', the messages it adds or '',
--       then a key and digests of what was said, if find.lua may be asked for them
-- needs: keys, memory, open_episodes, alarm, places, episode, group, running, sealing, lease
local REPLIES_KEPT, REPLY_BYTES_KEPT, MESSAGE_BYTES_KEPT, SAID_IN_KEPT = 32, 131072, 8388608, 64
local id, turn, record, trainable, sampled, oldest, newest = unpack(args, 1, 7)
local attempt, retry_key, digest, is_repeat, since, reply, previous, messages = unpack(args, 8, 15)
local header = episode_key(id)
local status, kind, sealed, min_version, max_version =
  unpack(call('HMGET', header, 'status', 'kind', 'sealed', 'min_version', 'max_version'))
if not status then return refuse('NoSuchEpisode', id) end

local owner = call('HGET', key('turns'), turn)
if owner == id then return call('LPOS', episode_key(id, '.turn_ids'), turn) end
if owner then return refuse('RetryMismatch', turn) end
local in_grace = (status == 'sealed' or status == 'rewarded') and now <= number(sealed) + grace_ms
if status ~= 'open' and not in_grace then return refuse('EpisodeSealed', id) end

-- One of two tries of a call is recorded. An attempt that has its lease is the only one: whoever is recorded ends the lease.
local function is_second()
  if reply == '' or retry_key == '' or holds_lease(id, retry_key, attempt) then return false end
  return call('SISMEMBER', episode_key(id, '.superseded'), attempt) == 1
    or is_answered(id, retry_key, attempt, is_repeat, since)
end
if is_second() then
  take_back(id, attempt)
  return refuse('AttemptSuperseded', id)
end

local length = call('RPUSH', episode_key(id, '.turns'), record)
call('RPUSH', episode_key(id, '.turn_ids'), turn)
call('HSET', key('turns'), turn, id)
local turns = call('HINCRBY', header, 'turns', 1)
call('HSET', header, 'begun', math.max(number(call('HGET', header, 'begun')), turns))
call('HINCRBY', header, 'output_tokens', sampled)
local is_trainable = tonumber(trainable) > 0
if is_trainable then
  call('HINCRBY', header, 'trainable_turns', 1)
  call('HINCRBY', header, 'trainable_tokens', trainable)
end
-- The versions of the tokens that are trained, or evaluated in a held-out episode.
if oldest ~= '' and (is_trainable or kind == 'side') then
  if not min_version or tonumber(oldest) < number(min_version) then
    call('HSET', header, 'min_version', oldest)
  end
  if not max_version or tonumber(newest) > number(max_version) then
    call('HSET', header, 'max_version', newest)
  end
end
if status == 'open' then
  call('HSET', header, 'committed', now)
  call('ZADD', key('idle'), now + idle_ms, id)
  call('ZADD', key('quiet'), 'XX', now + silence_ms, id)
end
if status == 'sealed' and has_signal(id) then await_reward(id) end

-- Keeps the latest replies within the limits, and at least one.
local function keep_reply()
  local replies, order = episode_key(id, '.replies'), episode_key(id, '.reply_keys')
  local packed = cmsgpack.pack({digest, reply, attempt, is_repeat, length - 1})
  local kept = call('HINCRBY', header, 'reply_bytes', #packed - call('HSTRLEN', replies, retry_key))
  local is_new = call('HSET', replies, retry_key, packed) == 1
  local number = is_new and call('RPUSH', order, retry_key) or call('LLEN', order)
  while number > 1 and (number > REPLIES_KEPT or kept > REPLY_BYTES_KEPT) do
    local oldest = call('LPOP', order)
    kept = call('HINCRBY', header, 'reply_bytes', -call('HSTRLEN', replies, oldest))
    call('HDEL', replies, oldest)
    number = number - 1
  end
end

if retry_key ~= '' and reply ~= '' then keep_reply() end
if messages ~= '' and number(call('HGET', header, 'message_bytes')) + #messages <= MESSAGE_BYTES_KEPT then
  call('HINCRBY', header, 'message_bytes', #messages)
  call('HSET', episode_key(id, '.messages'), turn, previous .. '\n' .. messages)
end
for index = 17, #args do
  local words = key('found.words:' .. args[16] .. ':' .. args[index])
  call('ZADD', words, now, id)
  call('ZREMRANGEBYRANK', words, 0, -1 - SAID_IN_KEPT)
  call('PEXPIRE', words, 2 * idle_ms)
end
if retry_key ~= '' and reply ~= '' then
  call('HDEL', episode_key(id, '.leases'), retry_key)
elseif retry_key ~= '' then
  end_lease(id, retry_key, attempt)
  call('SADD', episode_key(id, '.withdrawn'), attempt)  -- it has ended: its lease is not written again
end
return length - 1
