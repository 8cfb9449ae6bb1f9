-- recorded_policy: read the policy recorded last. No args.
-- needs: keys
return call('HGETALL', key('policy'))
