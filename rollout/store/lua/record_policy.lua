-- record_policy: make a policy the current one. args: those of policy.lua.
-- needs: keys, policy
publish_policy(unpack(args))
return 1
