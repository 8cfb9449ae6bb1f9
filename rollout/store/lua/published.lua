-- published: read the policies that the ledger has not confirmed. No args.
-- needs: keys
return call('HGETALL', key('published'))
