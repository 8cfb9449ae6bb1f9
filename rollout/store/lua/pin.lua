-- pin: serve this policy whatever is recorded. args: those of policy.lua.
-- needs: keys, policy
write_policy('pinned', unpack(args))
return 1
