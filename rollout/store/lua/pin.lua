-- pin: serve this policy until it is unpinned. args: those of policy.lua.
-- needs: keys, policy
write_policy('pinned', unpack(args))
return 1
