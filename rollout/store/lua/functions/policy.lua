-- Writes the current or the pinned policy. args: version, path, parent or '', digest, created
local function write_policy(name, version, path, parent, digest, created)
  call('HSET', key(name), 'version', version, 'path', path, 'parent', parent, 'digest', digest,
    'created', created)
  keep_copy(name)
  if tonumber(version) > number(call('GET', key('version'))) then
    call('SET', key('version'), version)
    keep_copy('version')
  end
  call('PUBLISH', key('signal'), 'policy')
end

-- Makes a policy the current one, and keeps its record and optimizer step until the ledger has them.
local function publish_policy(version, path, parent, digest, created, step)
  write_policy('policy', version, path, parent, digest, created)
  local record = cmsgpack.pack({path, parent, digest, created, step or ''})
  call('HSETNX', key('published'), version, record)
end
