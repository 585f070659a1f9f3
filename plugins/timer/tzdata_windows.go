package timer

import _ "time/tzdata" // Windows has no IANA time zones of its own
