-- shards: over how many shards the project is spread. No args.
-- needs: keys
return math.max(1, number(call('GET', key('shards'))))
