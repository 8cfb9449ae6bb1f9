-- renew_attempt: keep the lease of a call that is being sampled. Returns 1 if a repeat of the call waits for its reply.
-- args: episode, attempt, retry key
-- needs: keys, lease
local id, attempt, retry_key = unpack(args)
local lease = leased(id, retry_key)
if not lease or lease[1] ~= attempt then return 0 end
write_lease(id, retry_key, attempt, lease[2], lease[4])
return lease[4] > now and 1 or 0
