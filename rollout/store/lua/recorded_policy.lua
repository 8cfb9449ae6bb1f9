-- recorded_policy: the policy recorded last, pinned or not. No args.
-- needs: keys
return call('HGETALL', key('policy'))
