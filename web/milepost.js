// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
function p(r,...t){try{r?.(...t)}catch(e){queueMicrotask(()=>{throw e})}}var d=r=>["completed","failed","cancelled"].includes(r.status);function y(r,t){let[e,s]=t.split("-"),[i,n]=(r??"").split(
"-");return e!==i||!s||!n?NaN:n.length-s.length||(n<s?-1:+(n>s))}function u(r){try{let t=JSON.parse(r);return typeof t=="object"?t:null}catch{return null}}var U=6e5;function E(r,t,e,s){if([1e3,1002,1007,1009].includes(r)||r>=4400&&r<4500)return null;if(r===1011)return 1e3+s*
4e3;let i=r===1012||r===1013?u(t)?.retry_ms:void 0;return i>=0?Math.min(i,U):s*Math.min(3e4,1e3*2**Math.min(e,10))}var _=({
headers:r})=>Math.min(Number(r.get("retry-after"))*1e3*(1+Math.random())||0,U);var et=/^[!#$%&'*+.^`|~\w-]+$/;function x(r,t){let e=et.test(t),s=t&&!e?new URLSearchParams({token:t}):"";return new WebSocket(
`${r.replace(/^http/,"ws")}/ws?${s}`,e?["milepost",`milepost.bearer.${t}`]:[])}var O=r=>r.replace(/^ws/,"http").replace(
/\/+$/,"");var g=1e4,st=3,it=100,nt=250,D=0,I=4404,N=4401,ot=3*g,W="unreadable-job",m=()=>performance.now(),T=class{#t=new Map;#e=0;#r=0;#s=0;#n="\
connecting";#o="";#i;#c=null;#l=-1/0;#a=0;#f=!1;#p=0;#g=0;#m=null;#b=null;#d=!1;#M=0;#u={};constructor(t,e,s){this.base=
O(t),this.token=e,this.#i=typeof e=="function"?null:e??"",this.notify=s}watch(t,e,s){this.#x(t),this.#t.set(t,{since:e,pace:s}),
this.#h(" rest"),this.#b?this.#I(t):this.#d?this.#j(t):!this.#m&&!this.#u[" retry"]&&this.#w()}unwatch(t){this.#x(t),this.#t.
delete(t)&&(this.#k({type:"unsubscribe",job_id:t}),this.#t.size||this.#h(" rest",100,()=>this.close()))}probe(){if(this.#b)
return this.#L(3e3);!this.#u[" retry"]&&!this.#d||(this.#r=this.#s=this.#e=0,this.#N(),this.#w())}close(){this.#t.clear(),
this.#N(),this.#y("connecting")}#w(){if(this.#h(" retry"),!!this.#t.size){if(this.#i===null)return this.#q();if(!this.#e&&
!globalThis.WebSocket&&(this.#e=1),!this.#e)return this.#$();this.#d=!0;for(let t of this.#t.keys())this.#j(t)}}#T(){if(this.#c)
return this.#c;let t;this.#l=m();let e=new Promise((i,n)=>{t=setTimeout(n,ot,new Error("no token came in time"))}),s=this.
token;return this.#c=Promise.race([e,Promise.resolve().then(s)]).then(i=>{this.#i=String(i??"")}).finally(()=>{clearTimeout(
t),this.#c=null})}#q(){this.#T().then(()=>this.#m||this.#d||this.#w(),t=>{console.warn(`milepost: no token: ${t}`),this.#D(
E(1006,"",this.#s++,Math.random())??0)})}#F(t){typeof this.token=="function"&&this.#h(" token",t*333,()=>{let e=this.#i;
this.#T().then(()=>this.#i!==e&&this.#k({type:"auth",token:this.#i}),()=>{})})}#B(){return typeof this.token!="function"||
(this.#i=null,++this.#a>1)?null:m()-this.#l<5e3?1e3:0}#$(){let t;try{t=x(this.base,this.#i??"")}catch(i){return this.#S(
4400,String(i))}let e=()=>{this.#h(" greeting"),this.#h(" blocked"),t.onclose=t.onerror=t.onmessage=null,t.close(),this.#m=
this.#b=null},s=(i,n)=>{e(),this.#d?this.#U():this.#S(i,n)};this.#m=e,this.#o="",this.#h(" greeting",g,()=>s(1006,"")),t.
onclose=i=>s(i.code,i.reason),t.onerror=()=>this.#h(" blocked",it,()=>{this.#e=1,s(D,"")}),t.onmessage=i=>{this.#g=m(),this.#h(
" dead");let n=u(i.data);if(typeof n?.position=="string")return this.#E(n);if(this.#R(n?.timestamp),n?.type==="connected"){
this.#h(" greeting"),this.#W(),this.#b=t,this.#e=0,this.#f=!0,this.#a=0,this.#O();for(let o of this.#t.keys())this.#I(o);
this.#A()}else n?.type==="subscribed"?this.#_(n.job_id,n.known):n?.type==="token_expiring"?this.#F(n.in):n?.type==="erro\
r"&&this.#J(n)}}#A(){this.#h(" listen",2500,()=>{m()-this.#g>g&&this.#L(5e3),this.#A()})}#L(t){this.#u[" dead"]||(this.#k(
{type:"ping"}),this.#h(" dead",t,()=>this.#S(1006,"")))}#I(t){let e=this.#t.get(t);this.#k({type:"subscribe",job_id:t,since:e?.
since,...e?.pace})}#k(t){this.#b?.send(JSON.stringify(t))}#R(t){let e=Date.parse(t??"")-Date.now();Math.abs(e-this.#p)>=
nt&&(this.#p=e,this.notify({t:"clock",skew:e}))}#E(t){let e=this.#t.get(t.job_id);e&&(y(e.since,t.position)>0||(e.since=
t.position),this.notify({t:"state",job:t.job_id,state:t}))}#_(t,e){e===!1&&this.#t.has(t)&&this.notify({t:"unknown",job:t})}#J({
problem:t,message:e="",job_id:s=""}){this.#t.has(s)?t===W?this.#C(s,e):t==="forbidden"?this.#v(s,e,4403):/^invalid/.test(
t??"")?this.#v(s,e,4400):this.#j(s):this.#o=e}#C(t,e){this.notify({t:"unreadable",job:t,reason:e})}#v(t,e,s){this.unwatch(
t),this.notify({t:"rejected",job:t,reason:e,code:s})}async#j(t){let e=this.#t.get(t);if(e)for(;;){let s=e.stop=new AbortController,
i=h=>this.#h(t,h,()=>s.abort()),n=this.#M<st;this.#M+=Number(n);let o=0;try{i(2*g),n&&this.#e===1&&!e.ended?await this.#G(
t,e,s.signal,i):o=await this.#Y(t,e,s.signal,n)}catch(h){let{code:c,reason:l=""}=h;if(e.stop!==s)return;if([4400,4403].includes(
c)||c===N&&typeof this.token!="function")return this.#v(t,l,c);if(!this.#b)return this.#S(c,l);o=Math.max(5e3,u(l)?.retry_ms||
0)}finally{this.#M-=Number(n)}if(e.stop!==s)return;await new Promise(h=>this.#h(t,o,()=>h(null)))}}#x(t){let e=this.#t.get(
t);this.#h(t),e?.stop?.abort(),e&&(e.stop=void 0)}async#P(t,e,s={}){let i=this.#i;i&&(s.authorization=`Bearer ${i}`);let n=i?
"manual":"follow",o=await fetch(`${this.base}/jobs/${t}`,{headers:s,signal:e,redirect:n,cache:"no-store"}),{ok:h,status:c}=o;
if(i&&(o.type==="opaqueredirect"||o.headers.has("location")))throw{code:I,reason:`${this.base} redirects; a token is sen\
t to the server itself only`};if(this.#z(o),this.#p||this.#R(o.headers.get("date")),h||c===304||c===404)return this.#a=0,
o;let l=_(o);if(l)throw{code:1013,reason:`{"retry_ms":${l}}`};let a=u(await o.text())?.detail;throw{code:[400,401,403].includes(
c)?4e3+c:1006,reason:a}}#z({ok:t,status:e,url:s,headers:i}){let n=i.get("content-type")??"";if(this.#f||=(t?/json|event-stream/:
/problem.json/).test(n)||e===204||e===304,!(this.#f||!(t||e===404)))throw{code:I,reason:`no Milepost server at ${this.base}\
: ${s} answered ${e} ${n}`.trim()}}async#G(t,e,s,i){let n=Object.entries({since:e.since,...e.pace}).filter(([,L])=>L),o=`${encodeURIComponent(
t)}/events?${new URLSearchParams(n)}`,{body:h,status:c}=await this.#P(o,s);if(e.ended=c===204,e.ended)return;if(c===404||
!h)throw{};let l=h.pipeThrough(new TextDecoderStream).getReader(),[a,f,b,S]=["","",2*g,m()];for(;!e.ended;){let{done:L,value:Q}=await l.
read();if(s.aborted||L||a.length>1e7)throw{code:1012,reason:f};let P=(a+Q).split(`

`);a=P.pop()??"";for(let Z of P){this.#O();let w=Object.fromEntries(Z.split(`
`).map(tt=>tt.split(/: ?(.*)/))),M=u(w.data);if(w.retry&&(f=`{"retry_ms":${w.retry}}`),!M)b=Math.max(5e3,m()-S);else if(w.
event==="end")e.ended=!0;else{if(w.event==="unauthenticated")throw{code:N,reason:M.detail};w.event===W?this.#C(t,M.detail):
w.event?this.#_(t,M.known):this.#E(M)}}S=m(),i(3*b)}}async#Y(t,e,s,i){let n=m(),o=i&&this.#n==="open"?15:0,h=`${encodeURIComponent(
t)}?wait=${o}`,c=await this.#P(h,s,e.since?{"if-none-match":`"${e.since}"`}:{}),{status:l}=c,a=l===200&&await c.json();this.#d&&
this.#O(),l===404&&this.#_(t,!1),a&&(e.ended=d(a),this.#E(a));let f=i?1e3/(e.pace.max_rate??2):Math.max(2e3,100*this.#t.
size);return Math.max(f+n-m(),_(c))}#O(){this.#r=0,this.#y("open"),this.#u[" stable"]||this.#h(" stable",5e3,()=>this.#s=
0),this.#d&&this.#U()}#U(){this.#u[" climb"]||this.#m||!globalThis.WebSocket||this.#h(" climb",3*g,()=>this.#$())}#S(t,e){
let s=this.#n!=="open";if(this.#N(),t===D)return this.#w();s&&t!==N&&++this.#r===2&&(this.#r=0,this.#e=(this.#e+1)%3);let i=t===
N?this.#B():E(t,e,this.#s,Math.random());if(this.#s+=1,t===I)return this.#y("failed",e,t);if(i===null)return this.#y("cl\
osed",this.#o||e,t);this.#D(i)}#D(t){this.#y("connecting"),this.#h(" retry",t,()=>this.#w())}#N(){for(let t of Object.keys(
this.#u))this.#h(t);this.#m?.(),this.#W()}#W(){this.#d=!1,this.#h(" climb");for(let t of this.#t.keys())this.#x(t)}#h(t,e,s){
clearTimeout(this.#u[t]),delete this.#u[t],s&&(this.#u[t]=setTimeout(()=>{delete this.#u[t],s()},e))}#y(t,e="",s=0){t!==
this.#n&&(this.#n=t,this.notify({t:"connection",connection:t,reason:e,code:s}))}};var k=class{#t=new Map;#e=new Set;#r={t:"connection",connection:"connecting",reason:"",code:0};#s=null;constructor(t,e){
this.session=new T(t,e,s=>this.#c(s))}receive(t,e){e.t==="open"?(this.#e.add(t),t(this.#r),this.#s&&t(this.#s),e.lock&&navigator.
locks.request(e.lock,()=>this.#i(t))):e.t==="watch"?this.#n(t,e):e.t==="unwatch"?this.#o(e.job,e.key):e.t==="probe"?this.
session.probe():this.#i(t)}#n(t,{key:e,job:s,since:i,pace:n}){let o=this.#t.get(s)??{subscribers:new Map,pace:"",last:void 0};
this.#t.set(s,o),o.subscribers.set(e,{port:t,pace:n});let h=rt(o.subscribers),c=JSON.stringify(h),{last:l}=o;if(l&&t(l),
l?.t!=="state")this.session.watch(s,o.subscribers.size>1?void 0:i,h);else{let{position:a}=l.state,f=y(i,a)<0;(f||o.pace!==
c)&&this.session.watch(s,f?i:a,h)}o.pace=c}#o(t,e){let s=this.#t.get(t);!s?.subscribers.delete(e)||s.subscribers.size||(this.#t.
delete(t),this.session.unwatch(t))}#i(t){this.#e.delete(t);for(let[e,s]of this.#t)for(let[i,n]of s.subscribers)n.port===
t&&this.#o(e,i)}#c(t){let e=this.#e;if(t.t==="connection")this.#r=t;else if(t.t==="clock")this.#s=t;else{let s=this.#t.get(
t.job);if(!s)return;s.last=t,e=new Set([...s.subscribers.values()].map(i=>i.port)),t.t==="rejected"&&this.#t.delete(t.job)}
for(let s of e)s(t)}};function rt(r){let t=[...r.values()].map(s=>s.pace),e=t.map(s=>s.max_rate??1/0);return{mode:t.every(
s=>s.mode==="latest")?"latest":void 0,max_rate:e.includes(1/0)?void 0:Math.max(...e)}}var q="milepost-3f09bede",F=(r,t)=>JSON.stringify([q,import.meta.url,r,t]);function B(){let r=globalThis,[t,,e,s]=u(r.
name)??[];if(t!==q||!r.SharedWorkerGlobalScope)return;let i=new k(e,s),n=new Promise(o=>{navigator.locks.request(`${r.name}\
 worker`,()=>new Promise(()=>o()))});r.onconnect=({ports:[o]})=>{let h=c=>o.postMessage(c);o.onmessage=({data:c})=>i.receive(
h,c),n.then(()=>h({t:"hello"}))}}var J="document"in globalThis,v=Math.random().toString(36),$=class{#t=new Set;connection="connecting";reason="";code=0;skew=0;#e=null;#r=!1;#s=[];constructor(t,e,s){
if(this.url=t,this.token=e,this.name=F(t,String(e??"")),this.isShared=s&&typeof e!="function"&&J&&navigator.locks,this.#i(),
!!J){for(let i of["visibilitychange","online","offline","pageshow"])addEventListener(i,()=>{if(!document.hidden){this.#r?
this.#i():this.#e?.({t:"probe"});for(let n of this.#t)n.onConnection()}});addEventListener("pagehide",()=>this.#c())}}add(t){
this.#t.add(t),this.#e?.(t.command("watch"))}delete(t){this.#t.delete(t),this.#e?.(t.command("unwatch"))}#n=t=>{if(t.t===
"clock"){this.skew=t.skew;return}t.t==="connection"&&({connection:this.connection,reason:this.reason,code:this.code}=t),
this.connection==="failed"&&t.t==="connection"&&console.warn(`milepost: ${this.reason}`);for(let e of this.#t)t.t==="con\
nection"?e.onConnection():t.job===e.jobId&&e.onMessage(t)};#o(t,e){this.#e=t,t({t:"open",lock:e});for(let s of this.#t)t(
s.command("watch"))}#i(){this.#r=!1;let t=v+this.name;this.isShared?this.#l(t,()=>this.#f(t)):this.#a()}#c(){this.#r=!0,
this.#e?.({t:"bye"}),this.#e=null;for(let t of this.#s.reverse())t();this.#s=[]}#l(t,e){let s=new AbortController,i=new Promise(
n=>{this.#s.push(n,()=>s.abort())});navigator.locks.request(t,{signal:s.signal},()=>(e(),i)).catch(n=>{n.name!=="AbortEr\
ror"&&this.#a()})}#a(){let t=new k(this.url,this.token);return this.#s.push(()=>t.session.close()),this.#o(e=>t.receive(
this.#n,e)),t}#f(t){let e=this.#s;new Promise((i,n)=>{let o=new URL(import.meta.url);if(o.origin!==location.origin||!o.pathname.
endsWith("/milepost.js"))throw o;let h=new SharedWorker(o,{type:"module",name:this.name});h.onerror=n,setTimeout(n,3e3),
h.port.onmessage=({data:c})=>c.t==="hello"?i(h.port):this.#n(c)}).then(i=>{e===this.#s&&(this.#o(n=>i.postMessage(n),t),
this.#l(`${this.name} worker`,()=>{this.#c(),this.#i()}))},()=>e===this.#s&&this.#p(t))}#p(t){let e=new BroadcastChannel(
this.name),s=null,i=new Map;e.onmessage=({data:{from:n,to:o,command:h,message:c}})=>{if(n&&s){let l=i.get(n)??(a=>e.postMessage(
{to:n,message:a}));i.set(n,l),h.t==="bye"&&i.delete(n),s.receive(l,h)}else o===v?this.#n(c):o==="*"&&this.#e&&this.#o(this.#e,
t)},this.#s.push(()=>e.close()),this.#o(n=>e.postMessage({from:v,command:n}),t),this.#l(this.name,()=>{s=this.#a(),e.postMessage(
{to:"*"})})}};var ht=1e4,z=3e4,G=1e3,ct=5e3,Y=5e3,at=2,lt=6e4,A=class{position;#t="WebSocket"in globalThis?0:1/0;#e=0;#r=0;#s=0;#n=G;#o=!1;#i=()=>{};constructor(t,e,s){
this.jobId=t,this.options=e,this.position=e.since,this.base=O(s),e.signal?.addEventListener("abort",()=>this.close()),e.
signal?.aborted||this.#c()}close(){this.#o=!0,this.#i()}async#c(){let{token:t}=this.options;for(;!this.#o;){let e;try{let s=String(
(typeof t=="function"?await t():t)??"");if(this.#o)return;e=await(performance.now()<this.#t?this.#g(s):this.#p(s))}catch(s){
let{code:i=1006,reason:n=""}=s;if(e=i===4401&&typeof t=="function"&&++this.#s===1?1e3:E(i,n,this.#r++,Math.random()),e===
null){this.close(),p(this.options.onError,Object.assign(new Error(n||"rejected"),{code:i}));return}}this.#o||await this.#l(
e)}}#l(t){return new Promise(s=>{let i=setTimeout(s,t);this.#i=()=>(clearTimeout(i),s())})}#a(){this.#t=performance.now()+
lt}#f({lines:t,next:e,log:s,log_gap:i}){this.#r=this.#s=0,this.position=e??(i?void 0:this.position),p(this.options.onLines,
{lines:t,gap:i===!0,log:s,next:e})}#p(t){return new Promise((e,s)=>{let i;try{i=x(this.base,t)}catch(a){return s({code:4400,
reason:String(a)})}let n=!1,o,h=a=>{clearTimeout(o),i.onmessage=i.onclose=i.onerror=null,i.close(),a()},c=(a,f)=>{a===1006&&
!n&&++this.#e>=at&&this.#a(),h(()=>s({code:a,reason:f}))},l=a=>{clearTimeout(o),o=setTimeout(()=>c(1006,""),a)};this.#i=
()=>h(()=>e(0)),l(ht),i.onclose=({code:a,reason:f})=>c(a,f),i.onerror=()=>l(100),i.onmessage=({data:a})=>{l(z);let f=u(a);
if(f?.type==="connected")n=!0,this.#e=0,i.send(JSON.stringify({type:"subscribe",job_id:this.jobId,log:!0,since:this.position}));else if(f?.
type==="log")this.#f(f);else if(f?.type==="error"){let{problem:b,message:S}=f;if(b==="unknown-job")return h(()=>e(Y));if(b===
"forbidden")return c(4403,S);if(b==="unauthenticated")return;if(!/^invalid|^too-many/.test(b))return h(()=>s({code:1012,
reason:S}));this.#a(),h(()=>e(0))}}})}async#g(t){let e=new AbortController;this.#i=()=>e.abort();let s=setTimeout(()=>e.
abort(),z);try{let i=new URLSearchParams(this.position?{since:this.position}:{}),n=await fetch(`${this.base}/jobs/${encodeURIComponent(
this.jobId)}/log?${i}`,{headers:t?{authorization:`Bearer ${t}`}:{},redirect:t?"error":"follow",signal:e.signal,cache:"no\
-store"}),{ok:o,status:h}=n,c=u(await n.text());if(this.#o)return 0;if(h===404)return Y;if(!o||!Array.isArray(c?.lines)){
let l=_(n);throw l?{code:1013,reason:`{"retry_ms":${l}}`}:{code:[400,401,403].includes(h)?4e3+h:1006,reason:c?.detail}}return this.#n=
c.lines.length?G:Math.min(ct,this.#n*1.5),this.#f(c),this.#n}finally{clearTimeout(s)}}};var ft=3e4,ut=5e3,pt=3,dt=.01,mt=3e4,bt=.2,R=r=>typeof r=="string"?Date.parse(r):NaN,j=class{#t=null;#e=0;#r={at:0,progress:0};#s={
at:0,progress:0};#n=-1;#o=0;#i=0;#c=0;note(t,e){let s=this.#t;this.#t=t,this.#e=e;let i=typeof t.progress=="number"&&t.status===
"processing"?t.progress:NaN;if((s?.attempt!==t.attempt||!(i>=this.#s.progress))&&(this.#n=-1),isNaN(i))return;if(this.#n<
0)return this.#l(i,e);if(i===this.#s.progress)return;let n=e-this.#s.at,o=Math.max(mt,bt*(e-this.#r.at)),h=o/(o+n);this.#o=
this.#o*h+i-this.#s.progress,this.#i=this.#i*h+n,this.#c=this.#c*h+1,this.#n+=1,this.#s={at:e,progress:i}}#l(t,e){this.#n=
this.#o=this.#i=this.#c=0,this.#r=this.#s={at:e,progress:t}}get#a(){return this.#t?.status==="processing"}silentFor(t){return this.#a?
Math.max(0,t-(R(this.#t?.last_seen_at)||this.#e)):null}standsFor(t){return this.#a?Math.max(0,t-(R(this.#t?.progressed_at)||
this.#s.at||this.#e)):null}health(t){let{health:e}=this.#t??{};if(!this.#t||d(this.#t))return"ok";if(e==="ok"||e==="stal\
led"||e==="lost")return e;let{processing:s=0}=this.#t.children??{};return!s&&(this.silentFor(t)??0)>ft?"lost":"ok"}rate(t){
let{at:e,progress:s}=this.#s;if(!this.#a||this.#n<pt||this.health(t)!=="ok"||e-this.#r.at<ut||s-this.#r.progress<dt)return null;
let i=Math.max(0,t-e-2*this.#i/this.#c);return this.#o/(this.#i+i)*1e3}timeLeft(t){let e=R(this.#t?.eta);if(this.#a&&this.
health(t)==="ok"&&e)return e>t?e-t:null;let s=this.rate(t);if(s===null)return null;let i=(1-this.#s.progress)/s*1e3-(t-this.#s.
at);return i>0?i:null}};var wt=0,C=class{state=null;known=null;connection="connecting";error=null;#t=[];#e=[];#r=()=>{};#s=`${v} ${++wt}`;#n=!1;#o=!1;#i=!1;#c="";#l=new j;constructor(t,e,s){
this.jobId=t,this.options=e,this.client=s,this.pace={mode:e.mode,max_rate:e.maxRate},e.since&&this.#t.push(e.since),s.add(
this),this.onConnection(),e.signal?.addEventListener("abort",()=>this.close()),e.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}get serverNow(){return Date.now()+this.client.skew}get timeLeft(){return this.connection==="open"?
this.#l.timeLeft(this.serverNow):null}get silentFor(){return this.#l.silentFor(this.serverNow)}get standsFor(){return this.#l.
standsFor(this.serverNow)}get health(){return this.connection==="open"?this.#l.health(this.serverNow):"ok"}close(){this.#n||
(this.#n=!0,this.client.delete(this),this.onConnection(),this.#r())}async*[Symbol.asyncIterator](){try{for(;;){let t=this.#e.
shift();if(t)yield t;else{if(this.error)throw this.error;if(this.#n)return;await new Promise(e=>this.#r=()=>e(void 0))}}}finally{
this.close()}}command(t){return{t,key:this.#s,job:this.jobId,since:this.position,pace:this.pace}}onConnection(){let{connection:t,
reason:e,code:s}=this.client,i=t==="failed";if((i||t==="closed")&&!this.#n)return this.#o=i,this.#f(e,s);let n=t!=="open"&&
globalThis.navigator?.onLine===!1,o=t==="connecting"&&this.#i,h=this.#o?"failed":"closed",c=this.#n?h:n?"offline":o?"rec\
onnecting":t;this.#i||=t==="open",c!==this.connection&&(this.connection=c,p(this.options.onConnection,c))}onMessage(t){this.#n||
(t.t==="rejected"?this.#f(t.reason,t.code):t.t==="unreadable"?this.#a(t.reason):t.t==="state"?this.#p(t.state):this.known!==
!1&&(this.known=!1,p(this.options.onUnknown)))}#a(t){let e=`the server cannot read ${this.jobId}: ${t}`;this.options.onWarning?
p(this.options.onWarning,e):console.warn(`milepost: ${e}`)}#f(t,e){this.error=Object.assign(new Error(t||"rejected"),{code:e}),
this.close(),p(this.options.onError,this.error)}#p(t){let{position:e}=t;if(this.#t.some(o=>y(o,e)>=0))return;let s=this.#t.
filter(o=>isNaN(y(o,e)));this.#t=[...s.slice(-3),e],this.state=t,this.#l.note(t,this.serverNow),this.known=!0;let i=this.#e.
at(-1);if(i&&!d(i)&&this.#e.pop(),this.#e=[...this.#e.slice(-8),t],this.#r(),p(this.options.onState,t),!d(t)||this.#n)return;
let n=`${t.attempt} ${t.status} ${t.timestamp}`;n!==this.#c&&p(this.options.onEnd,t),this.#c=n,this.options.follow||this.
close()}},K=new Map,X=r=>new URL(r??"/",globalThis.location?.href).href;function H(r,t={}){let e=X(t.url),s=t.share??!0,
{token:i}=t,n=`${s} ${e}`,o=K.get(i)??new Map,h=o.get(n)??new $(e,i,s);return K.set(i,o.set(n,h)),new C(r,t,h)}function yt(r,t){
return new A(r,t,X(t.url))}function gt(r){let t=typeof r=="string"?r.split(/\r?\n|\r/).filter(s=>s.trim()):[],e=(t.filter(s=>!/^\s/.test(s)).at(-1)??
t.at(-1)??"").trim();return e.length>300?`${e.slice(0,300)}…`:e}function V(r){let t=r?.stages;if(!r||!Array.isArray(t))return[];let e=t.map(n=>typeof n=="string"?{id:n}:n);if(!e.every(
n=>typeof n?.id=="string"))return[];let s=e.findIndex(({id:n})=>n===r.stage),i=d(r)&&r.status==="completed";return e.map(
({id:n,label:o,skipped:h},c)=>({id:n,label:typeof o=="string"&&o?o:n,is:h===!0?"skipped":i||c<s?"done":c===s?"now":"ahea\
d"}))}function kt(r){let{stage:t}=r??{};return V(r).find(({id:e})=>e===t)?.label??(typeof t=="string"?t:"")}function oe(r,t){return H(r,t)}B();export{j as Outlook,gt as errorSummary,d as isEnd,kt as stageLabel,V as stepsOf,oe as watch,yt as watchLog};
