-- next_version: reserve a new policy version. No args.
-- needs: keys
return call('INCR', key('version'))
