-- totals: read every count of the project, the numbers of ready and claimed groups, who holds how many places, and the
-- limits of admission, and how many records were damaged. No args.
-- needs: keys
return {
  call('HGETALL', key('totals')),
  call('ZCARD', key('ready')),
  call('ZCARD', key('claimed')),
  call('HGETALL', key('holders')),
  call('HMGET', key('training'), 'max_live_episodes', 'max_live_episodes_per_key'),
  tostring(number(call('GET', key('damage_count')))),
}
