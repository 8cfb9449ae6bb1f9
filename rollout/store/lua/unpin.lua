-- unpin: serve the policy recorded last. No args.
-- needs: keys
call('DEL', key('pinned'), key('copy.pinned'))
call('PUBLISH', key('signal'), 'policy')
return 1
