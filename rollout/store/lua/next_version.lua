-- next_version: a policy version never given out before. No args.
-- needs: keys
return call('INCR', key('version'))
