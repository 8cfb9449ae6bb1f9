-- Two tries of one call.

-- Whether another attempt at this call is being sampled. It goes on while a repeat wants it. The lease of a gateway that
-- died or stalled expires: then its attempt is superseded, and its reply is no longer accepted.
local function is_taken(id, retry_key, attempt, digest)
  local lease = leased(id, retry_key)
  if not lease or lease[1] == attempt then return false end
  if lease[2] ~= digest then return false, refuse('RetryMismatch', retry_key) end
  if lease[3] > now then
    keep_in_memory()
    local packed = cmsgpack.pack({lease[1], lease[2], lease[3], now + WANTED_MS})
    call('HSET', episode_key(id, '.leases'), retry_key, packed)
    return true
  end
  call('SADD', episode_key(id, '.superseded'), lease[1])
  take_back(id, lease[1])
  return false
end

-- Whether another try of the same call was recorded after this attempt had begun, when the log had `since` turns. Two first
-- tries with equal bodies are two calls.
local function is_answered(id, retry_key, attempt, is_repeat, since)
  local packed = call('HGET', episode_key(id, '.replies'), retry_key)
  if not packed then return false end
  local _, _, by, was_repeat, ordinal = unpack(cmsgpack.unpack(packed))
  return by and by ~= attempt and number(ordinal) >= number(since) and (is_repeat == '1' or was_repeat == '1')
end
