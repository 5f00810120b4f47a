"""What runs inside the server: one Lua script for each operation, so that each is one atomic step.

A conversation has two keys, in one slot of a cluster: ``PREFIX:{KEY}``, a hash with its owner and fence, and
``PREFIX:{KEY}:entry``, a hash with what is kept. The entry goes when it expires; the fence goes a week after the last
lease, and those that follow are greater all the same, because each is at least the server's time in microseconds.
Times are the server's, in microseconds; what was released has no owner.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = ["CLAIM", "RELEASE", "RENEW", "SAVE", "Script"]


class Script:
    """The text of a script, and what the server calls it once it has seen it."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_NUMBER = """
-- what is missing, or was damaged, is 0
local function number(field) return field and tonumber(field) or 0 end
"""
_NOW = (
    _NUMBER
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end
local function lease_until(till, past)
  redis.call('PEXPIREAT', KEYS[1], text(math.ceil(math.max(till, past) / 1000) + 7 * 86400 * 1000))
end
"""
)

CLAIM = Script(
    _NOW
    + """
local owner, span, force = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local row = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'until', 'span', 'past')
local left, longest = number(row[3]) - now, 2 * number(row[4]) + 1000000
-- more than it ever was: the server's clock was set back
if not row[2] or row[2] == owner or left < 0 or left > longest then left = 0 end
if left > 0 and not force then return {text(left)} end
-- until then an owner that was thrown out may believe that it owns the conversation, whoever claimed it since
local past = math.max(math.min(number(row[5]), now + longest), now + left)
local fence = math.max(number(row[1]) + 1, now)
local entry = redis.call('HMGET', KEYS[2], 'data', 'sequence', 'expires')
redis.call('HSET', KEYS[1], 'fence', text(fence), 'owner', owner,
  'until', text(now + span), 'span', text(span), 'past', text(past))
lease_until(now + span, past)
return {text(fence), text(past - now), entry[1], entry[2], entry[3]}
"""
)

RENEW = Script(
    _NOW
    + """
local span = tonumber(ARGV[2])
local row = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'past')
if row[1] ~= ARGV[1] or not row[2] then return 0 end
redis.call('HSET', KEYS[1], 'until', text(now + span), 'span', text(span))
lease_until(now + span, number(row[3]))
return 1
"""
)

SAVE = Script(
    _NUMBER
    + """
local row = redis.call('HMGET', KEYS[1], 'fence', 'writer', 'sequence')
if row[1] ~= ARGV[1] then return 0 end
if row[2] ~= ARGV[1] or tonumber(ARGV[2]) > number(row[3]) then
  redis.call('HSET', KEYS[1], 'writer', ARGV[1], 'sequence', ARGV[2])
  redis.call('HSET', KEYS[2], 'data', ARGV[3], 'sequence', ARGV[2], 'expires', ARGV[4])
  redis.call('PEXPIREAT', KEYS[2], ARGV[5])
end
return 1
"""
)

RELEASE = Script("""
if redis.call('HGET', KEYS[1], 'fence') == ARGV[1] then redis.call('HDEL', KEYS[1], 'owner') end
return 1
""")
