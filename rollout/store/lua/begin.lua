-- begin: start a turn; opens the episode if it does not exist.
-- Returns opening time, history policy and number of turns; then the turns that are missing, the recorded reply, and 1 if another
-- attempt at the call is being sampled. Nothing if the episode does not exist and the arguments to open it are missing.
-- args: episode, 1 if the caller names it or its group, since, attempt, retry key or '', body digest, 1 if it may be a repeat,
--       when the episode was opened in which this attempt has begun already, or '', then those of opening.lua
-- needs: keys, memory, lease
local id, named, since, attempt, retry_key, digest, is_repeat, begun_in = unpack(args, 1, 8)
local is_named = named == '1'
local status, kind, begun, turns, trainable, committed, created, history, place = unpack(call('HMGET', episode_key(id),
  'status', 'kind', 'begun', 'turns', 'trainable_turns', 'committed', 'created', 'history', 'place'))

-- A crash may forget that a turn was begun if sealing does not wait for it, because the episode has a trainable turn, and if
-- the deadlines are as good as new, because a turn was committed a moment ago.
local function may_be_forgotten()
  local is_awaited = kind == 'side' or number(trainable) == 0
  local is_placed = place or not is_named
  return not is_awaited and is_placed and now - number(committed) < math.min(idle_ms, silence_ms) / 4
end

local function begin()
  if may_be_forgotten() then
    keep_in_memory()
  else
    -- needs here: alarm, places
    call('ZADD', key('idle'), now + idle_ms, id)
    if is_named then keep_place(id) end
  end
  local was_begun = retry_key ~= '' and write_lease(id, retry_key, attempt, digest, 0)
  if not was_begun then call('HSET', episode_key(id), 'begun', math.max(number(begun), number(turns)) + 1) end
end

-- The recorded reply; or a refusal; or whether another attempt at the call is being sampled.
local function repeated()
  -- needs here: running, tries
  local recorded = call('HGET', episode_key(id, '.replies'), retry_key)
  if not recorded then
    local taken, refusal = is_taken(id, retry_key, attempt, digest)
    begun = call('HGET', episode_key(id), 'begun')
    return nil, refusal, taken
  end
  local known, body = unpack(cmsgpack.unpack(recorded))
  if known ~= digest then return nil, refuse('RetryMismatch', retry_key) end
  return body
end

if not status then
  if #args == 8 then return false end
  -- needs here: open_episodes, alarm, places, opening
  local refusal = open_episode(9, 1)
  if refusal then return refusal end
  if retry_key ~= '' then write_lease(id, retry_key, attempt, digest, 0) end
  created, history = unpack(call('HMGET', episode_key(id), 'created', 'history'))
  return {{created, history, '0'}, {}, false, 0}
end

local summary = {created, history, turns}
local reply, refusal, taken
if is_repeat == '1' then reply, refusal, taken = repeated() end
if refusal then return refusal end
if taken then return {summary, {}, false, 1} end
-- It is counted, also if the episode was sealed since: sealing waits for it. Not in another episode of that id.
local has_begun = created == begun_in and (status == 'open' or status == 'sealed' or status == 'rewarded')
if not reply and not has_begun then
  if status ~= 'open' then return refuse('EpisodeSealed', id) end
  begin()
end
local missing = tonumber(since) < number(turns) and call('LRANGE', episode_key(id, '.turns'), since, -1) or {}
return {summary, missing, reply or false, 0}
