// This file is how a Raspberry Pi's firmware throttles a processor that is hot or has a weak
// supply.

package host

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// throttling are the names of the firmware's flags by bit. The bits 16 higher say whether a flag
// was ever set since the start. https://www.raspberrypi.com/documentation/computers/os.html,
// get_throttled.
var throttling = []string{"under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"}

func readThrottling(sys string) (map[string]any, error) {
	// soc:firmware on a Pi to 4, soc@107c000000:firmware on a Pi 5
	files, _ := filepath.Glob(filepath.Join(escape(sys), "devices/platform/soc*/soc*:firmware/get_throttled"))
	if len(files) == 0 {
		return readUnderVoltage(sys)
	}
	content := text(files[0])
	flags, err := strconv.ParseUint(strings.TrimPrefix(content, "0x"), 16, 32)
	if err != nil {
		return nil, fmt.Errorf("%s contains %q, which is not a hexadecimal number", files[0], content)
	}
	fields := map[string]any{}
	for bit, name := range throttling {
		fields[name] = flags>>bit&1 == 1
		fields[name+"_occurred"] = flags>>(bit+16)&1 == 1
	}
	return fields, nil
}

// readUnderVoltage reads the driver raspberrypi-hwmon, which kernels without Raspberry Pi's own
// changes have.
func readUnderVoltage(sys string) (map[string]any, error) {
	names, _ := filepath.Glob(filepath.Join(escape(sys), "class/hwmon/hwmon*/name"))
	for _, n := range names {
		if text(n) == "rpi_volt" {
			if alarm, ok := number(filepath.Join(filepath.Dir(n), "in0_lcrit_alarm")); ok {
				return map[string]any{"under_voltage": alarm != 0}, nil
			}
		}
	}
	return nil, errors.New("this is not a Raspberry Pi, or its kernel does not report throttling")
}
