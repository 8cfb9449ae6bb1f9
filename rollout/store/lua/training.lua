-- training: what the trainer last said of itself. No args.
-- needs: keys
return call('HGETALL', key('training'))
