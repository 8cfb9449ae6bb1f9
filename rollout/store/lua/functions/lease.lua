-- The lease of a call that is being sampled, so that a repeat of the call, at any gateway, waits for it.
-- A lease is {attempt, body digest, when it expires, until when a repeat wants the reply}. A crash of Redis may forget it: its
-- attempt writes it again (renew_attempt.lua), and of two attempts that sample meanwhile one is recorded (is_answered).
local LEASE_MS, WANTED_MS = 15000, 2000

local function leased(id, retry_key)
  local packed = call('HGET', episode_key(id, '.leases'), retry_key)
  if packed then return cmsgpack.unpack(packed) end
end

local function holds_lease(id, retry_key, attempt)
  local lease = leased(id, retry_key)
  return lease and lease[1] == attempt
end

-- Returns whether the attempt had the lease before.
local function write_lease(id, retry_key, attempt, digest, wanted)
  local leases = episode_key(id, '.leases')
  local packed = cmsgpack.pack({attempt, digest, now + LEASE_MS, wanted})
  if call('HSETNX', leases, retry_key, packed) == 1 then return false end
  local was_held = holds_lease(id, retry_key, attempt)
  call('HSET', leases, retry_key, packed)
  return was_held
end

local function end_lease(id, retry_key, attempt)
  if retry_key ~= '' and holds_lease(id, retry_key, attempt) then call('HDEL', episode_key(id, '.leases'), retry_key) end
end
