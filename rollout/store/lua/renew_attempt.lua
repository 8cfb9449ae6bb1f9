-- renew_attempt: keep the lease of a call that is being sampled. Returns 1 if a repeat of the call waits for its reply.
-- One that a crash of Redis forgot is written again, unless the attempt has ended or another one was recorded. An attempt that
-- has not begun never had one: it may wait for another attempt.
-- args: episode, attempt, retry key, body digest, 1 if the attempt has begun
-- needs: keys, memory, lease
local id, attempt, retry_key, digest, has_begun = unpack(args)
local lease = leased(id, retry_key)
if lease and lease[1] ~= attempt then return 0 end

local function has_ended()
  local status = call('HGET', episode_key(id), 'status')
  return (status ~= 'open' and status ~= 'sealed')
    or call('SISMEMBER', episode_key(id, '.withdrawn'), attempt) == 1
    or call('HEXISTS', episode_key(id, '.replies'), retry_key) == 1
end
if not lease and (has_begun ~= '1' or has_ended()) then return 0 end
local wanted = lease and lease[4] or 0
keep_in_memory()
write_lease(id, retry_key, attempt, digest, wanted)
return wanted > now and 1 or 0
