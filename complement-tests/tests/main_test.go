// Tests in Complement's form of what the suite does not ask for. run.sh makes a module of them that uses the suite's
// checkout. They hold for any homeserver.
package hearth_tests

import (
	"testing"

	"github.com/matrix-org/complement"
)

func TestMain(m *testing.M) {
	complement.TestMain(m, "hearth")
}
