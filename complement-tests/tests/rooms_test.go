package hearth_tests

import (
	"net/http"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/matrix-org/complement"
	"github.com/matrix-org/complement/b"
	"github.com/matrix-org/complement/client"
	"github.com/matrix-org/complement/helpers"
	"github.com/matrix-org/complement/match"
	"github.com/matrix-org/complement/must"
)

// The room that replaces another takes over who is banned, what the levels are, and the alias; in the old one nobody but
// those in charge says anything more.
func TestUpgradeTakesOverTheRoom(t *testing.T) {
	deployment := complement.Deploy(t, 1)
	defer deployment.Destroy(t)
	alice := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	bob := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	eve := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	roomID := alice.MustCreateRoom(t, map[string]interface{}{
		"preset":                       "public_chat",
		"room_version":                 "10",
		"room_alias_name":              "upgraded",
		"name":                         "Tea",
		"power_level_content_override": map[string]interface{}{"events": map[string]interface{}{"x.test": 42}},
	})
	bob.MustJoinRoom(t, roomID, nil)
	alice.MustDo(t, "POST", []string{"_matrix", "client", "v3", "rooms", roomID, "ban"},
		client.WithJSONBody(t, map[string]interface{}{"user_id": eve.UserID}))

	newID := alice.MustUpgradeRoom(t, roomID, "11")
	alias := deployment.GetFullyQualifiedHomeserverName(t, "hs1")
	response := bob.MustDo(t, "GET", []string{"_matrix", "client", "v3", "directory", "room", "#upgraded:" + string(alias)})
	must.MatchResponse(t, response, match.HTTPResponse{JSON: []match.JSON{match.JSONKeyEqual("room_id", newID)}})
	tombstone := bob.MustGetStateEventContent(t, roomID, "m.room.tombstone", "")
	must.MatchGJSON(t, tombstone, match.JSONKeyEqual("replacement_room", newID))
	create := alice.MustGetStateEventContent(t, newID, "m.room.create", "")
	must.MatchGJSON(t, create, match.JSONKeyEqual("predecessor.room_id", roomID))
	name := alice.MustGetStateEventContent(t, newID, "m.room.name", "")
	must.MatchGJSON(t, name, match.JSONKeyEqual("name", "Tea"))
	levels := alice.MustGetStateEventContent(t, newID, "m.room.power_levels", "")
	must.MatchGJSON(t, levels, match.JSONKeyEqual(`events.x\.test`, float64(42)))

	must.MatchResponse(t, eve.JoinRoom(t, newID, nil), match.HTTPResponse{StatusCode: http.StatusForbidden})
	bob.MustJoinRoom(t, newID, nil)
	said := bob.Do(t, "PUT", []string{"_matrix", "client", "v3", "rooms", roomID, "send", "m.room.message", "1"},
		client.WithJSONBody(t, map[string]interface{}{"msgtype": "m.text", "body": "still here"}))
	must.MatchResponse(t, said, match.HTTPResponse{StatusCode: http.StatusForbidden})
}

// Another device of a user who left a room and forgot it hears that they are out, and nothing of what was said meanwhile.
func TestForgottenRoomOnAnotherDevice(t *testing.T) {
	deployment := complement.Deploy(t, 1)
	defer deployment.Destroy(t)
	alice := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	bob := deployment.Register(t, "hs1", helpers.RegistrationOpts{Password: "a long enough secret"})
	other := deployment.Login(t, "hs1", bob, helpers.LoginOpts{Password: "a long enough secret"})
	roomID := alice.MustCreateRoom(t, map[string]interface{}{"preset": "public_chat"})
	bob.MustJoinRoom(t, roomID, nil)
	since := other.MustSyncUntil(t, client.SyncReq{}, client.SyncJoinedTo(bob.UserID, roomID))
	alice.SendEventSynced(t, roomID, b.Event{
		Type:    "m.room.message",
		Content: map[string]interface{}{"msgtype": "m.text", "body": "while you were out"},
	})
	bob.MustLeaveRoom(t, roomID)
	bob.MustDo(t, "POST", []string{"_matrix", "client", "v3", "rooms", roomID, "forget"}, client.WithJSONBody(t, struct{}{}))

	response, next := other.MustSync(t, client.SyncReq{Since: since})
	left := response.Get("rooms.leave." + client.GjsonEscape(roomID))
	must.Equal(t, left.Exists(), true, "the room is told as left")
	left.Get("timeline.events").ForEach(func(_, event gjson.Result) bool {
		must.Equal(t, event.Get("type").Str, "m.room.member", "what is told of a forgotten room")
		return true
	})
	response, _ = other.MustSync(t, client.SyncReq{Since: next, TimeoutMillis: "0"})
	must.Equal(t, response.Get("rooms.leave."+client.GjsonEscape(roomID)).Exists(), false, "it is told once")
}

// Who is put out and let in again is told all of the room, as if they came for the first time.
func TestComingBackShowsTheWholeRoom(t *testing.T) {
	deployment := complement.Deploy(t, 1)
	defer deployment.Destroy(t)
	alice := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	bob := deployment.Register(t, "hs1", helpers.RegistrationOpts{})
	roomID := alice.MustCreateRoom(t, map[string]interface{}{"preset": "public_chat", "name": "Tea"})
	bob.MustJoinRoom(t, roomID, nil)
	since := bob.MustSyncUntil(t, client.SyncReq{}, client.SyncJoinedTo(bob.UserID, roomID))
	alice.MustDo(t, "POST", []string{"_matrix", "client", "v3", "rooms", roomID, "kick"},
		client.WithJSONBody(t, map[string]interface{}{"user_id": bob.UserID}))
	since = bob.MustSyncUntil(t, client.SyncReq{Since: since}, client.SyncLeftFrom(bob.UserID, roomID))
	alice.SendEventSynced(t, roomID, b.Event{
		Type: "m.room.topic", StateKey: b.Ptr(""), Content: map[string]interface{}{"topic": "biscuits"},
	})
	for n := 0; n < 20; n++ {
		alice.Unsafe_SendEventUnsynced(t, roomID, b.Event{
			Type: "m.room.message", Content: map[string]interface{}{"msgtype": "m.text", "body": "crumbs"},
		})
	}
	bob.MustJoinRoom(t, roomID, nil)
	filter := `{"room":{"timeline":{"limit":1}}}`
	bob.MustSyncUntil(t, client.SyncReq{Since: since, Filter: filter}, client.SyncJoinedTo(bob.UserID, roomID),
		func(_ string, response gjson.Result) error {
			room := response.Get("rooms.join." + client.GjsonEscape(roomID))
			for _, wanted := range []string{"m.room.create", "m.room.name", "m.room.topic", "m.room.power_levels"} {
				found := room.Get(`state.events.#(type=="` + wanted + `")`)
				if !found.Exists() {
					t.Errorf("%s is not in the state of a room that was entered again", wanted)
				}
			}
			must.Equal(t, room.Get("timeline.limited").Bool(), true, "there is a gap")
			return nil
		})
}
