-- pinned: whether a policy is pinned. No args.
-- needs: keys
return call('EXISTS', key('pinned'))
