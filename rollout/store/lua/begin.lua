-- begin: start a turn; opens the episode if it does not exist.
-- Returns header, turns, the recorded reply, and 1 if another attempt at the call is being sampled.
-- args: those of opening.lua, then since, attempt, retry key or '', body digest, 1 if it may be a repeat
-- needs: keys, open_episodes, header, alarm, places, opening, lease
local id, named = args[1], args[10]
local since, attempt, retry_key, digest, is_repeat = unpack(args, 14, 18)
local status = call('HGET', episode_key(id), 'status')
local is_new = not status
if is_new then
  local refusal = open_episode()
  if refusal then return refusal end
  status = 'open'
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
  end
end
if not reply then
  if status ~= 'open' then return refuse('EpisodeSealed', id) end
  call('ZADD', key('idle'), now + idle_ms, id)
  if named == '1' and not is_new then keep_place(id) end
  if not holds_lease(id, retry_key, attempt) then call('HINCRBY', episode_key(id), 'begun', 1) end
  if retry_key ~= '' then write_lease(id, retry_key, attempt, digest, 0) end
end
return {header(id), call('LRANGE', episode_key(id, '.turns'), since, -1), reply, 0}
