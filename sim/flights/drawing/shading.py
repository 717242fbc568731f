"""GLSL sources of the renderer: a vertex-lit room with shadows on the floor, and a lit figure."""

ROOM_VERTEX = """#version 330
in vec3 position; in vec4 direct; in vec2 surface; in vec3 texture_uvl;
uniform mat4 view_projection;
out vec3 place; out vec4 light; out vec2 rest; out vec3 uvl;
void main() {
    place = position; light = direct; rest = surface; uvl = texture_uvl;
    gl_Position = view_projection * vec4(position, 1.0);
}
"""

# light: direct irradiance of each light group (floor only), rest: (other irradiance, albedo).
ROOM_FRAGMENT = """#version 330
in vec3 place; in vec4 light; in vec2 rest; in vec3 uvl;
uniform sampler2DArray textures; uniform sampler2D shadow; uniform sampler2D ceiling;
uniform vec3 shadow_frame;   // centre x, y and side length of the floor's shadow map
uniform vec3 eye; uniform vec3 room; // half extents and height
uniform float gloss; uniform float wall_radiance;
out vec4 radiance;
void main() {
    float albedo = rest.y * texture(textures, uvl).r * 1.9922;
    float irradiance = rest.x;
    float mirror = 0.0;
    if (uvl.z > 0.5 && uvl.z < 1.5) {
        vec2 q = (place.xy - shadow_frame.xy) / shadow_frame.z + 0.5;
        vec4 clear = texture(shadow, q);
        irradiance = dot(light, clear) + rest.x * (0.45 + 0.55 * dot(clear, vec4(0.25)));
        if (gloss > 0.0) {
            vec3 view = normalize(eye - place);
            float fresnel = gloss + (1.0 - gloss) * 0.6 * pow(1.0 - view.z, 5.0);
            vec2 hit = place.xy - view.xy * room.z / max(view.z, 0.02);
            vec2 inside = step(abs(hit), room.xy);
            float lamp = texture(ceiling, hit / (2.0 * room.xy) + 0.5).r;
            mirror = fresnel * mix(wall_radiance, lamp, inside.x * inside.y);
        }
    }
    radiance = vec4(albedo * 0.31831 * irradiance + mirror, 0.0, 0.0, 1.0);
}
"""

# Ambient cubes at three heights light the figure; open_ is (ambient, overhead) visibility.
FIGURE_VERTEX = """#version 330
in vec3 position; in vec3 normal; in float albedo; in vec2 open_; in vec3 texture_uvl;
uniform mat4 view_projection; uniform vec3 cube[6]; uniform vec3 cube_heights;
out float shade; out vec3 uvl;
vec3 level(int k, float z) {
    float t = clamp((z - cube_heights.x) / (cube_heights.y - cube_heights.x), 0.0, 1.0);
    float s = clamp((z - cube_heights.y) / (cube_heights.z - cube_heights.y), 0.0, 1.0);
    return mix(mix(cube[k], cube[k + 1], t), cube[k + 2], s);
}
void main() {
    vec3 n = normalize(normal);
    vec3 square = n * n;
    vec3 up = level(0, position.z), down = level(3, position.z);
    vec3 side = mix(down, up, step(0.0, n));
    vec3 visible = vec3(open_.x, open_.x, n.z > 0.0 ? open_.y : open_.x);
    shade = albedo * 0.31831 * dot(square * visible, side);
    uvl = texture_uvl;
    gl_Position = view_projection * vec4(position, 1.0);
}
"""

FIGURE_FRAGMENT = """#version 330
in float shade; in vec3 uvl;
uniform sampler2DArray textures;
out vec4 radiance;
void main() { radiance = vec4(shade * texture(textures, uvl).r * 1.9922, 0.0, 0.0, 1.0); }
"""

MASK_VERTEX = """#version 330
in vec3 position; uniform mat4 view_projection;
void main() { gl_Position = view_projection * vec4(position, 1.0); }
"""

MASK_FRAGMENT = """#version 330
out vec4 radiance;
void main() { radiance = vec4(1.0, 0.0, 0.0, 1.0); }
"""
