-- The lease of a call that is being sampled, so that a repeat of the call, at any gateway, waits for it.
-- A lease is {attempt, body digest, when it expires, until when a repeat wants the reply}. A crash of Redis may forget it: its
-- attempt writes it again (renew_attempt.lua), and of two attempts that sample meanwhile one is recorded (is_answered).
local LEASE_MS, WANTED_MS = 15000, 2000

local function leased(id, retry_key)
  local packed = call('HGET', episode_key(id, '.leases'), retry_key)
  if packed then return cmsgpack.unpack(packed) end
end

local function write_lease(id, retry_key, attempt, digest, wanted)
  local packed = cmsgpack.pack({attempt, digest, now + LEASE_MS, wanted})
  call('HSET', episode_key(id, '.leases'), retry_key, packed)
end

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

local function holds_lease(id, retry_key, attempt)
  local lease = retry_key ~= '' and leased(id, retry_key)
  return lease and lease[1] == attempt
end

local function end_lease(id, retry_key, attempt)
  if holds_lease(id, retry_key, attempt) then call('HDEL', episode_key(id, '.leases'), retry_key) end
end

-- Whether another try of the same call was recorded after this attempt had begun, when the log had `since` turns. Two first
-- tries with equal bodies are two calls.
local function is_answered(id, retry_key, attempt, is_repeat, since)
  local packed = call('HGET', episode_key(id, '.replies'), retry_key)
  if not packed then return false end
  local _, _, by, was_repeat, ordinal = unpack(cmsgpack.unpack(packed))
  return by and by ~= attempt and number(ordinal) >= number(since) and (is_repeat == '1' or was_repeat == '1')
end
