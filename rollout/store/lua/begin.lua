-- begin: start a turn; opens the episode if it does not exist. Returns header, turns, recorded reply.
-- args: those of opening.lua, then since, retry key or '', body digest
-- needs: keys, header, alarm, opening
local id, since, retry_key, digest = args[1], args[10], args[11], args[12]
local status = call('HGET', episode_key(id), 'status')
if not status then
  local refusal = open_episode()
  if refusal then return refusal end
  status = 'open'
end

local reply = false
if retry_key ~= '' then
  local recorded = call('HGET', episode_key(id, '.replies'), retry_key)
  if recorded then
    local known, body = unpack(cmsgpack.unpack(recorded))
    if known ~= digest then return refuse('RetryMismatch', retry_key) end
    reply = body
  end
end
if not reply then
  if status ~= 'open' then return refuse('EpisodeSealed', id) end
  call('ZADD', key('idle'), now + idle_ms, id)
  call('HINCRBY', episode_key(id), 'begun', 1)
end
return {header(id), call('LRANGE', episode_key(id, '.turns'), since, -1), reply}
