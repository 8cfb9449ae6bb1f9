-- training: read the state that the trainer reported last. No args.
-- needs: keys
return call('HGETALL', key('training'))
