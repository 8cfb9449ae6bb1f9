-- probe: find out whether Redis accepts writes. No args.
-- needs: keys
return call('SET', key('probe'), now)
