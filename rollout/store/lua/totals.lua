-- totals: read every count of the project, and the numbers of ready and claimed groups. No args.
-- needs: keys
return {call('HGETALL', key('totals')), call('ZCARD', key('ready')), call('ZCARD', key('claimed'))}
