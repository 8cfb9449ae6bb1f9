-- commit: append a turn to an episode's log, once. Returns its ordinal.
-- Opens the episode first if there is none and its arguments are given; then it returns opening time and history policy, too.
-- args: episode, turn id, record, trainable tokens, output tokens, oldest version or '', newest version or '',
--       attempt, retry key or '', body digest, 1 if it may be a repeat, turns in the log when it began, reply or '',
--       the turn whose conversation it continues or '', the messages it adds or '',
--       number of the next arguments: a key and digests of what was said, if find.lua may be asked for them,
--       then those of opening.lua, or none
-- needs: keys, lease
local REPLIES_KEPT, REPLY_BYTES_KEPT, MESSAGE_BYTES_KEPT, SAID_IN_KEPT = 32, 131072, 8388608, 64
local id, turn, record, trainable, sampled, oldest, newest = unpack(args, 1, 7)
local attempt, retry_key, digest, is_repeat, since, reply, previous, messages = unpack(args, 8, 15)
trainable, oldest, newest = tonumber(trainable), tonumber(oldest), tonumber(newest)
local header, is_answer = episode_key(id), retry_key ~= '' and reply ~= ''
local COUNTS = {'begun', 'turns', 'trainable_turns', 'trainable_tokens', 'output_tokens', 'reply_bytes', 'message_bytes'}

-- Status, kind, sealing time and versions; then the counts, which are whole numbers.
local function read_header()
  local found = call('HMGET', header, 'status', 'kind', 'sealed', 'min_version', 'max_version', unpack(COUNTS))
  for index = 6, #found do
    local count = tonumber(found[index])
    if found[index] and not (count and count % 1 == 0) then
      mend(header, COUNTS[index - 5] .. ' is no number')
      return call('HMGET', header, 'status')
    end
    found[index] = count or 0
  end
  return found
end

local found, after_said = read_header(), 17 + tonumber(args[16])
local is_new, history = not found[1] and args[after_said] ~= nil, nil
if is_new then
  -- needs here: open_episodes, alarm, places, opening
  local refusal
  refusal, history = open_episode(after_said, 0)
  if refusal then return refusal end
  found = {'open', args[after_said + 5], false, false, false, 0, 0, 0, 0, 0, 0, 0}
end
local status, kind, sealed, min_version, max_version = unpack(found, 1, 5)
local begun, turns, trainable_turns, trainable_tokens, output_tokens, reply_bytes, message_bytes = unpack(found, 6, 12)
if not status then return refuse('NoSuchEpisode', id) end

-- The ordinal of a turn that was committed before.
local function committed()
  local owner = call('HGET', key('turns'), turn)
  if owner == id then return call('LPOS', episode_key(id, '.turn_ids'), turn) end
  if owner then return refuse('RetryMismatch', turn) end
end

-- One of two tries of a call is recorded. An attempt that has its lease is the only one, because the one that is recorded ends the lease.
local function is_second()
  -- needs here: running, tries
  if call('SISMEMBER', episode_key(id, '.superseded'), attempt) == 0
    and not is_answered(id, retry_key, attempt, is_repeat, since) then return false end
  take_back(id, attempt)
  return true
end

local in_grace = (status == 'sealed' or status == 'rewarded') and now <= number(sealed) + grace_ms
local may_commit = status == 'open' or in_grace
local may_be_second = is_answer and not is_new and not holds_lease(id, retry_key, attempt)
if not may_commit or may_be_second then
  local answer = committed()
  if answer then return answer end
  if not may_commit then return refuse('EpisodeSealed', id) end
  if is_second() then return refuse('AttemptSuperseded', id) end
end
if call('HSETNX', key('turns'), turn, id) == 0 then return committed() end

local length = call('RPUSH', episode_key(id, '.turns'), record)
call('RPUSH', episode_key(id, '.turn_ids'), turn)
local fields = {'turns', turns + 1, 'begun', math.max(begun, turns + 1), 'output_tokens', output_tokens + tonumber(sampled)}
local function set(field, value)
  fields[#fields + 1] = field
  fields[#fields + 1] = value
end

if trainable > 0 then
  set('trainable_turns', trainable_turns + 1)
  set('trainable_tokens', trainable_tokens + trainable)
end
-- The versions of the tokens that are trained, or evaluated in a held-out episode.
if oldest and (trainable > 0 or kind == 'side') then
  if not min_version or oldest < number(min_version) then set('min_version', oldest) end
  if not max_version or newest > number(max_version) then set('max_version', newest) end
end

-- Keeps the latest replies within the limits, and at least one.
local function keep_reply()
  local replies, order = episode_key(id, '.replies'), episode_key(id, '.reply_keys')
  local packed = cmsgpack.pack({digest, reply, attempt, is_repeat, length - 1})
  local kept, num_kept = reply_bytes + #packed, nil
  if call('HSETNX', replies, retry_key, packed) == 1 then
    num_kept = call('RPUSH', order, retry_key)
  else
    kept = kept - call('HSTRLEN', replies, retry_key)
    call('HSET', replies, retry_key, packed)
    num_kept = call('LLEN', order)
  end
  while num_kept > 1 and (num_kept > REPLIES_KEPT or kept > REPLY_BYTES_KEPT) do
    local first = call('LPOP', order)
    kept = kept - call('HSTRLEN', replies, first)
    call('HDEL', replies, first)
    num_kept = num_kept - 1
  end
  set('reply_bytes', kept)
end

if is_answer then keep_reply() end
if messages ~= '' and message_bytes + #messages <= MESSAGE_BYTES_KEPT then
  set('message_bytes', message_bytes + #messages)
  call('HSET', episode_key(id, '.messages'), turn, previous .. '\n' .. messages)
end
if status == 'open' then set('committed', ARGV[1]) end  -- it moves the deadlines in idle and quiet (idleness.lua)
call('HSET', header, unpack(fields))
if status == 'sealed' then
  -- needs here: open_episodes, alarm, places, episode, group, running, sealing
  if has_signal(id) then await_reward(id) end
end

for index = 18, after_said - 1 do
  local words = key('found.words:' .. args[17] .. ':' .. args[index])
  if call('ZADD', words, ARGV[1], id) == 1 then call('ZREMRANGEBYRANK', words, 0, -1 - SAID_IN_KEPT) end
  call('PEXPIRE', words, 2 * idle_ms)
end
if is_answer and not is_new then
  call('HDEL', episode_key(id, '.leases'), retry_key)
elseif retry_key ~= '' and not is_answer then
  end_lease(id, retry_key, attempt)
  call('SADD', episode_key(id, '.withdrawn'), attempt)  -- it has ended: its lease is not written again
end
if is_new then return {0, ARGV[1], history} end
return length - 1
