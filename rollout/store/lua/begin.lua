-- begin: start a turn; opens the episode if it does not exist.
-- Returns header, turns, the recorded reply, and 1 if another attempt at the call is being sampled.
-- args: those of opening.lua, then since, attempt, retry key or '', body digest, 1 if it may be a repeat
-- needs: keys, memory, running, open_episodes, header, alarm, places, opening, lease
local id, named = args[1], args[10]
local since, attempt, retry_key, digest, is_repeat = unpack(args, 14, 18)
local status, kind, begun, turns, trainable, committed, place = unpack(call('HMGET', episode_key(id),
  'status', 'kind', 'begun', 'turns', 'trainable_turns', 'committed', 'place'))
local is_new = not status
if is_new then
  local refusal = open_episode()
  if refusal then return refusal end
  status = 'open'
end

-- A crash may forget that a turn was begun if sealing does not wait for it, because the episode has a trainable turn, and if
-- the deadlines are as good as new, because a turn was committed a moment ago.
local function may_be_forgotten()
  local is_awaited = kind == 'side' or number(trainable) == 0
  local is_placed = place or named ~= '1' or kind == 'side'
  return not is_awaited and is_placed and now - number(committed) < math.min(idle_ms, silence_ms) / 4
end

local function begin()
  if is_new or not may_be_forgotten() then
    call('ZADD', key('idle'), now + idle_ms, id)
    if named == '1' and not is_new then keep_place(id) end
  else
    keep_in_memory()
  end
  if not holds_lease(id, retry_key, attempt) then
    call('HSET', episode_key(id), 'begun', math.max(number(begun), number(turns)) + 1)
  end
  if retry_key ~= '' then write_lease(id, retry_key, attempt, digest, 0) end
end

local reply = false
if is_repeat == '1' then
  local recorded = call('HGET', episode_key(id, '.replies'), retry_key)
  if recorded then
    local known, body = unpack(cmsgpack.unpack(recorded))
    if known ~= digest then return refuse('RetryMismatch', retry_key) end
    reply = body
  else
    local taken, refusal = is_taken(id, retry_key, attempt, digest)
    if refusal then return refusal end
    if taken then return {header(id), {}, false, 1} end
    begun = call('HGET', episode_key(id), 'begun')
  end
end
if not reply then
  if status ~= 'open' then return refuse('EpisodeSealed', id) end
  begin()
end
return {header(id), call('LRANGE', episode_key(id, '.turns'), since, -1), reply, 0}
