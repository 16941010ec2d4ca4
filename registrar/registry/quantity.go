package registry

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MilliCPU is an amount of processor time, in thousandths of a core. In JSON
// it is "500m", "0.5" or 0.5.
type MilliCPU int64

// UnmarshalJSON reads any of the forms.
func (c *MilliCPU) UnmarshalJSON(b []byte) error {
	text := quantityText(b)
	digits, milli := strings.CutSuffix(text, "m")
	n, err := strconv.ParseFloat(digits, 64)
	if !milli {
		n *= 1000
	}
	if err != nil || !(n >= 0 && n <= 1e9) {
		return FieldError{"resources.cpu", fmt.Sprintf("must be an amount such as 500m or 0.5, got %s", b)}
	}
	*c = MilliCPU(math.Ceil(n))
	return nil
}

// MarshalJSON writes thousandths: "500m".
func (c MilliCPU) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprintf("%dm", int64(c))) }

// Bytes is an amount of memory. In JSON it is "128Mi", "1G" or a number.
type Bytes int64

// memoryUnits are the suffixes of amounts of memory; those of two letters come
// before the one that they begin with.
var memoryUnits = []struct {
	suffix string
	bytes  float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1},
}

// UnmarshalJSON reads any of the forms.
func (m *Bytes) UnmarshalJSON(b []byte) error {
	text := quantityText(b)
	for _, unit := range memoryUnits {
		digits, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(n >= 0 && n*unit.bytes <= 1<<60) {
			break
		}
		*m = Bytes(math.Ceil(n * unit.bytes))
		return nil
	}
	return FieldError{"resources.memory", fmt.Sprintf("must be an amount such as 128Mi or 1G, got %s", b)}
}

// MarshalJSON writes the amount in the largest unit that tells all of it.
func (m Bytes) MarshalJSON() ([]byte, error) {
	for _, unit := range []string{"Gi", "Mi", "Ki"} {
		for _, u := range memoryUnits {
			if size := Bytes(u.bytes); u.suffix == unit && m != 0 && m%size == 0 {
				return json.Marshal(fmt.Sprintf("%d%s", int64(m/size), unit))
			}
		}
	}
	return json.Marshal(strconv.FormatInt(int64(m), 10))
}

func quantityText(b []byte) string { return strings.TrimSpace(strings.Trim(string(b), `"`)) }
